//! The shutdown of a runtime: no new calls, then no workers.

use std::time::{Duration, Instant};

use super::{CallState, Function, FunctionKey, Phase, Scheduler, Timer};
use crate::api::call_id::CallNumber;
use crate::api::failure::Cancelled;
use crate::job::parts::Parts;

impl<P: Parts> Scheduler<P> {
    /// Begins the shutdown and rejects new calls. Pending calls may finish within the grace and are
    /// cancelled after it. Without `runs_queued`, calls that are not executing are cancelled at once. If
    /// `is_awaited`, because a caller waits for the end, workers that have not exited by the end of the
    /// grace are killed.
    pub(crate) fn shut_down(
        &mut self,
        now: Instant,
        grace: Duration,
        runs_queued: bool,
        is_awaited: bool,
    ) {
        self.draining = true;
        self.kills_workers = is_awaited;
        if !runs_queued {
            self.cancels_queued = true;
            self.cancel_at_shutdown(|call| !matches!(call, CallState::Sent { .. }));
            // Calls that were sent but are not executing are recalled, and cancelled when they come
            // back.
            let workers = self.functions.iter().flat_map(|(_, one)| one.index.keys());
            for worker in workers.copied().collect::<Vec<_>>() {
                self.recall(worker);
            }
        }
        match now.checked_add(grace) {
            Some(at) if !grace.is_zero() => self.arm(at, Timer::ShutDown),
            Some(_) => self.end_grace(),
            None => {}
        }
    }

    /// Returns whether the shutdown is complete: no call and no worker is left, and none will come.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining && self.calls.is_empty() && self.workers.is_empty()
    }

    /// Returns how many calls are executing, and how many are not. A worker is sent more calls than
    /// it executes; prefetched ones do not count as executing. Cancelled ones do not count, although a worker may
    /// have them for a moment.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let all = self.calls.iter().map(|(_, call)| call);
        let waiting: usize = all
            .filter(|call| !matches!(call.state, CallState::Sent { .. }))
            .map(|call| call.payload.count() as usize)
            .sum();
        let (mut sent, mut executing) = (0, 0);
        for (_, worker) in self.workers.iter() {
            let wanted = worker
                .outstanding
                .iter()
                .filter(|inflight| inflight.call.is_some() && inflight.withdrawn.is_none());
            let wanted: usize = wanted.map(|inflight| inflight.count as usize).sum();
            sent += wanted;
            executing += wanted.min(self.functions[worker.function.0].policy.at_once);
        }
        (executing, waiting + sent - executing)
    }

    /// Returns the calls that the shutdown gave up, with their functions.
    pub(crate) fn abandoned(&self) -> &[(CallNumber, &'static str)] {
        &self.abandoned
    }

    /// Returns the workers that were killed because they had not exited when the grace was over.
    pub(crate) fn killed_at_shutdown(&self) -> &[(Option<u32>, &'static str)] {
        &self.killed_at_shutdown
    }

    /// Returns the workers that still exist, with their functions.
    pub(crate) fn processes(&self) -> impl Iterator<Item = (Option<u32>, &'static str)> {
        self.workers.iter().map(|(_, worker)| {
            let name = self.functions[worker.function.0].policy.name;
            (worker.pid, name)
        })
    }

    /// Ends the grace of a shutdown: cancels the remaining calls, and kills the remaining workers
    /// if the shutdown is waited for.
    pub(super) fn end_grace(&mut self) {
        self.abandon_all();
        if !self.kills_workers {
            return;
        }
        let keys: Vec<_> = self.workers.iter().map(|(key, _)| key).collect();
        for key in keys {
            let worker = &self.workers[key];
            if worker.phase == Phase::Retiring {
                let name = self.functions[worker.function.0].policy.name;
                self.killed_at_shutdown.push((worker.pid, name));
            }
            let is_left = matches!(
                worker.phase,
                Phase::Ready | Phase::Retiring | Phase::Starting
            );
            if is_left {
                self.kill(key, Phase::Killed);
            }
        }
    }

    fn abandon_all(&mut self) {
        let names = self.calls.iter().filter(|(_, call)| call.parent.is_none());
        for (_, call) in names {
            let name = self.functions[call.function.0].policy.name;
            let calls = call.id.following(call.payload.count());
            self.abandoned.extend(calls.map(|id| (id, name)));
        }
        self.cancel_at_shutdown(|_| true);
    }

    fn cancel_at_shutdown(&mut self, is_meant: impl Fn(CallState) -> bool) {
        let keys = self.keys_where(|call| is_meant(call.state));
        self.cancel(keys, Cancelled::ByShutdown);
    }

    /// Retires workers that have no more work, once all remaining calls are executing: these
    /// workers may need the rest of the grace for their teardown.
    pub(super) fn drain(&mut self, now: Instant) {
        let waits = |(_, function): (usize, &Function)| function.queued() > 0;
        if !self.draining || self.delayed > 0 || self.functions.iter().any(waits) {
            return;
        }
        let functions: Vec<_> = self
            .functions
            .iter()
            .map(|(key, _)| FunctionKey(key))
            .collect();
        let mut keys = Vec::new();
        for function in functions {
            let (index, counts) = self.index(function);
            // While inputs wait behind others at a worker, the function's other workers may take
            // them over. Ending these workers here would only cause new ones to start.
            if counts.behind == 0 {
                keys.extend_from_slice(index.keys());
            }
        }
        for key in keys {
            let Some(worker) = self.worker(key) else {
                continue;
            };
            match worker.phase {
                // A worker that is still executing an unwanted call ends when that is stopped.
                Phase::Ready if !worker.is_busy() => self.retire(now, key),
                Phase::Starting => self.kill(key, Phase::Killed),
                _ => {}
            }
        }
    }
}
