//! Read-only queries by the local engine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::calls::{Call, CallState, Terms};
use super::function::{Counts, FunctionPolicy};
use super::messages::{Overview, Printing, RunningCall};
use super::statistics::Statistics;
use super::timers::Timer;
use super::workers::{Phase, Worker};
use super::{FunctionKey, Scheduler, WorkerKey};
use crate::api::call_id::CallNumber;
use crate::job::outcome::CallKey;
use crate::job::parts::Parts;

/// The calls and workers of a function at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FunctionReading {
    pub(crate) name: &'static str,
    pub(crate) counts: Counts,
    /// The number of inputs that are executing.
    pub(crate) executing: usize,
    /// The number of workers that are starting, that have something to do, and that have nothing to do.
    pub(crate) starting: usize,
    pub(crate) busy: usize,
    pub(crate) idle: usize,
    /// Set while calls go to other machines and none has answered yet.
    pub(crate) is_unanswered: bool,
}

impl FunctionReading {
    /// Returns the number of workers that are starting or ready.
    pub(crate) fn workers(&self) -> usize {
        self.starting + self.busy + self.idle
    }

    fn add(&mut self, worker: &Worker, at_once: usize) {
        let inputs = worker.outstanding.inputs();
        self.executing += inputs.min(at_once);
        match worker.phase {
            Phase::Starting => self.starting += 1,
            Phase::Ready if inputs > 0 => self.busy += 1,
            Phase::Ready => self.idle += 1,
            _ => {}
        }
    }
}

impl<P: Parts> Scheduler<P> {
    /// Reads the calls and workers of each function, in the order in which the functions were first called. All
    /// configurations of a service are read as one function.
    pub(crate) fn read(&self) -> Vec<FunctionReading> {
        let removed = self.removed.iter();
        let mut all: Vec<_> = removed
            .map(|(name, (counts, _))| FunctionReading {
                name,
                counts: *counts,
                ..FunctionReading::default()
            })
            .collect();
        let mut places: HashMap<_, _> = all.iter().map(|one| one.name).zip(0..).collect();
        for (_, function) in &self.functions {
            let name = function.policy.name;
            let place = *places.entry(name).or_insert_with(|| {
                all.push(FunctionReading {
                    name,
                    ..FunctionReading::default()
                });
                all.len() - 1
            });
            let reading = &mut all[place];
            reading.counts.add(function.counts);
            for key in function.index.keys() {
                reading.add(&self.workers[*key], function.policy.at_once);
            }
        }
        all
    }

    /// Returns the workers, with their processes.
    pub(crate) fn workers(&self) -> Vec<(WorkerKey, Option<u32>)> {
        let workers = self.workers.iter();
        workers.map(|(key, worker)| (key, worker.pid)).collect()
    }

    /// Returns the call that a worker executes under a ticket, for a person who asks.
    pub(crate) fn running_call(&self, worker: WorkerKey, ticket: u64) -> Option<RunningCall> {
        let (call, id, index) = self.under(worker, ticket)?;
        Some(RunningCall {
            id,
            function: call.terms.name,
            index,
            attempt: call.attempt,
        })
    }

    /// Returns how many calls there are in each state.
    pub(crate) fn overview(&self) -> Overview {
        let (executing, waiting) = self.pending();
        Overview {
            executing,
            queued: waiting.saturating_sub(self.delayed),
            delayed: self.delayed,
            next_retry: self.next_retry(),
            done: self.read().iter().map(|one| one.counts.finished).sum(),
        }
    }

    /// Returns the time of the first retry. Looks at all timers.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let is_delayed = |key| {
            let call = self.call(key);
            call.is_some_and(|call| call.state == CallState::Delayed)
        };
        let retries = self.timers.iter().filter_map(|Reverse((at, timer))| {
            let Timer::Retry(key) = *timer else {
                return None;
            };
            is_delayed(key).then_some(*at)
        });
        retries.min()
    }

    /// Returns the statistics of each function that was called.
    pub(crate) fn statistics(&self) -> BTreeMap<&'static str, Statistics> {
        let removed = self.removed.iter();
        let mut all: BTreeMap<_, _> = removed
            .map(|(name, (_, statistics))| (*name, statistics.clone()))
            .collect();
        for (_, function) in &self.functions {
            let statistics = all.entry(function.policy.name).or_default();
            statistics.merge(&function.statistics);
        }
        all
    }

    /// Returns the terms and the payload of a call.
    pub(crate) fn payload(&self, call: CallKey) -> Option<(&Terms, &P)> {
        self.call(call).map(|call| (&*call.terms, &call.payload))
    }

    /// Returns the workers of a function.
    pub(crate) fn workers_of(&self, function: FunctionKey) -> &[WorkerKey] {
        let function = self.functions.get(function.0);
        function.map_or(&[], |function| function.index.keys())
    }

    /// Returns the workers that may answer a call: the one that has it, or those that may get it.
    pub(crate) fn workers_for(&self, call: CallKey) -> &[WorkerKey] {
        let Some(call) = self.call(call) else {
            return &[];
        };
        match &call.state {
            CallState::Queued | CallState::Delayed => self.workers_of(call.function),
            CallState::Sent { worker, .. } => std::slice::from_ref(worker),
        }
    }

    /// Returns the worker that a call was sent to, if it was sent.
    pub(crate) fn sent_to(&self, call: CallKey) -> Option<WorkerKey> {
        match self.call(call)?.state {
            CallState::Queued | CallState::Delayed => None,
            CallState::Sent { worker, .. } => Some(worker),
        }
    }

    /// Returns whether attempts at a function take less time than it takes to wake a thread.
    pub(crate) fn is_quick(&self, function: FunctionKey) -> bool {
        self.functions[function.0].is_quick()
    }

    /// Returns whether there are calls and all of them wait for their next attempt.
    pub(crate) fn only_waits(&self) -> bool {
        !self.calls.is_empty() && self.delayed == self.calls.len()
    }

    pub(crate) fn function_of(&self, worker: WorkerKey) -> Option<(FunctionKey, &FunctionPolicy)> {
        let function = self.worker(worker)?.function;
        Some((function, &self.functions[function.0].policy))
    }

    /// Returns whether a worker is still starting, so that its process is wanted.
    pub(crate) fn is_wanted(&self, worker: WorkerKey) -> bool {
        self.worker(worker)
            .is_some_and(|worker| worker.phase == Phase::Starting)
    }

    /// Returns the call that may have produced a worker's latest output, given the last ticket that
    /// the worker claimed.
    pub(crate) fn printing(&self, worker: WorkerKey, claimed: u64) -> Printing {
        let Some(worker) = self.worker(worker) else {
            return Printing::Nothing;
        };
        let outstanding = &worker.outstanding;
        let mut several = outstanding.iter().take_while(|one| one.ticket <= claimed);
        match (several.next(), several.next()) {
            (None, _) => Printing::Nothing,
            // The tickets that were claimed after the first may have been answered already.
            (Some(one), None) if one.count == 1 || one.ticket == claimed => {
                Printing::One(one.ticket)
            }
            _ => Printing::Several,
        }
    }

    /// Returns the call that a worker has under a ticket, its index in its map and its payload.
    pub(crate) fn call_of(
        &self,
        worker: WorkerKey,
        ticket: u64,
    ) -> Option<(CallNumber, Option<u64>, &P)> {
        let (call, id, index) = self.under(worker, ticket)?;
        Some((id, index, &call.payload))
    }

    /// Returns the call, or the chunk that contains it, that a worker has under a ticket; its identity, and its
    /// index in its map.
    fn under(&self, worker: WorkerKey, ticket: u64) -> Option<(&Call<P>, CallNumber, Option<u64>)> {
        let inflight = self.worker(worker)?.outstanding.get(ticket)?;
        let call = self.call(inflight.call?)?;
        let behind = ticket - inflight.ticket;
        let index = call.payload.index().map(|index| index + behind);
        Some((call, CallNumber(call.id.0 + behind), index))
    }

    /// Returns whether a worker has answered every ticket up to this one that it still had to
    /// answer.
    pub(crate) fn executes_nothing(&self, worker: WorkerKey, claimed: u64) -> bool {
        let executes = |worker: &Worker| worker.outstanding.any_up_to(claimed);
        !self.worker(worker).is_some_and(executes)
    }

    /// Returns the last ticket that was sent to a worker.
    pub(crate) fn last_ticket(&self, worker: WorkerKey) -> u64 {
        self.worker(worker)
            .map_or(0, |worker| worker.next_ticket - 1)
    }
}
