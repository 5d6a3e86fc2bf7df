//! Decides which worker executes which call and when, and how each call ends.
//!
//! The scheduler is a pure state machine. Events come in as method calls that carry the current
//! time; decisions go out as [`Action`]s. It does no I/O, reads no clock, starts no thread and
//! takes no lock, so tests can run every rule on millions of histories.
//!
//! A worker may hold several inputs at once. Each input has a ticket, a number that counts up per
//! worker. A worker *claims* a ticket before it executes the input, in memory that the parent can
//! read even after the worker's death, and the parent can *recall* all tickets that are not claimed
//! yet. The scheduler therefore always knows exactly which input was executing, and no input is
//! stranded behind a slow one.

mod calls;
mod chunk;
mod clean;
mod dispatch;
mod function;
mod memory;
mod messages;
mod nested;
mod numbers;
mod outcomes;
mod outstanding;
mod publishing;
mod queries;
mod queue;
mod shutdown;
mod starts;
pub(crate) mod statistics;
mod stop;
mod suspects;
mod timers;
mod tombstones;
mod window;
mod worker_index;
mod workers;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use outstanding::Inflight;
use queue::Hold;
use tombstones::Tombstones;
use worker_index::Workers;

use crate::api::call_id::CallNumber;
use crate::api::events::Interest;
use crate::job::outcome::{CallKey, Failure, History, Outcome};
use crate::job::parts::Parts;

pub(crate) use calls::Terms;
use calls::{AttemptEnd, Call, CallState, Past};
use function::Function;
pub(crate) use function::{Counts, FunctionPolicy};
pub(crate) use messages::{
    Action, Answer, AnswerReport, Executing, ExitReport, Inbound, LastPanic, Overview, Printing,
    Progress, RunningCall, UnknownTicket,
};
pub(crate) use nested::NestedOrigin;
pub(crate) use numbers::Numbers;
pub(crate) use queries::FunctionReading;
use statistics::Statistics;
use timers::Timer;
use workers::{Phase, Worker};

/// The number of crashes after which an input fails: those during which it was executing.
const CRASHES_PER_INPUT: u32 = 3;

/// The table of calls grows by one part in this many of its length, and by at least this many
/// entries.
const GROWTH: usize = 8;

/// The capacity above which an empty table or queue releases its memory.
const MAX_IDLE_CAPACITY: usize = 4096;

/// The time that a retiring worker has for its teardown before it is killed.
const TEAR_DOWN: Duration = Duration::from_secs(30);

/// The key of a registered function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionKey(usize);

impl FunctionKey {
    /// Returns the function's index in the table. A new function may reuse it once this one is
    /// removed.
    pub(crate) fn place(self) -> usize {
        self.0
    }
}

/// The key of a worker. Keys are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerKey {
    index: usize,
    pub(crate) id: u64,
}

/// The state of all calls, workers and functions of one runtime.
pub(crate) struct Scheduler<P> {
    calls: Slab<Call<P>>,
    /// The number of calls that wait for their next attempt.
    delayed: usize,
    workers: Workers,
    functions: Slab<Function>,
    /// The counts and the statistics of functions that were removed, by name.
    removed: BTreeMap<&'static str, (Counts, Statistics)>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    outdated_timers: Tombstones,
    actions: VecDeque<Action<P>>,
    /// Set once the runtime shuts down: new calls are rejected.
    draining: bool,
    /// Set if the shutdown cancels calls that are not executing.
    cancels_queued: bool,
    /// The top-level calls that were still pending when the shutdown's grace was over.
    abandoned: Vec<(CallNumber, &'static str)>,
    /// Set if the shutdown kills the workers that are left when its grace is over.
    kills_workers: bool,
    killed_at_shutdown: Vec<(Option<u32>, &'static str)>,
    /// The functions whose workers [`rebalance`](Self::rebalance) has to check before anything
    /// else.
    unsettled: Vec<FunctionKey>,
    /// Workers whose nested calls ended after everything else that they had: they may be used up.
    rejoined: Vec<WorkerKey>,
    /// The callers that accept no further results for now.
    holds: Vec<Hold>,
    /// The maximum number of processes of all functions together.
    max_processes: Option<usize>,
    /// The functions without a worker that wait for a place for one, in order of arrival.
    places: VecDeque<FunctionKey>,
    random: fastrand::Rng,
    numbers: Arc<Numbers>,
    interest: Interest,
}

impl<P: Parts> Scheduler<P> {
    /// Creates a scheduler without functions; `seed` seeds the jitter of retries. Schedulers whose calls have to
    /// have different numbers share `numbers`.
    pub(crate) fn new(seed: u64, numbers: Arc<Numbers>) -> Self {
        Self {
            calls: Slab::new(),
            workers: Workers::default(),
            functions: Slab::new(),
            removed: BTreeMap::new(),
            timers: BinaryHeap::new(),
            outdated_timers: Tombstones::default(),
            delayed: 0,
            actions: VecDeque::new(),
            draining: false,
            cancels_queued: false,
            abandoned: Vec::new(),
            kills_workers: false,
            killed_at_shutdown: Vec::new(),
            unsettled: Vec::new(),
            rejoined: Vec::new(),
            holds: Vec::new(),
            max_processes: None,
            places: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            numbers,
            interest: Interest::Nothing,
        }
    }

    pub(crate) fn add_function(&mut self, policy: FunctionPolicy) -> FunctionKey {
        FunctionKey(self.functions.insert(Function::new(policy)))
    }

    /// Removes a function that has no call, no worker and no crash that still counts. Returns
    /// whether it was removed.
    pub(crate) fn remove_if_unused(&mut self, now: Instant, key: FunctionKey) -> bool {
        let function = &mut self.functions[key.0];
        let Counts {
            submitted,
            finished,
            ..
        } = function.counts;
        let is_unused = submitted == finished
            && function.index.keys().is_empty()
            && function.policy.min_workers == 0
            && function.count_crashes(now) == 0;
        if is_unused && !self.places.contains(&key) && !self.unsettled.contains(&key) {
            let function = self.functions.remove(key.0);
            let removed = self.removed.entry(function.policy.name).or_default();
            removed.0.add(function.counts);
            removed.1.merge(&function.statistics);
            return true;
        }
        false
    }

    pub(crate) fn next_action(&mut self) -> Option<Action<P>> {
        self.actions.pop_front()
    }

    /// Releases the memory that a burst of calls has left allocated.
    fn tidy(&mut self) {
        if self.calls.is_empty() && self.calls.capacity() > MAX_IDLE_CAPACITY {
            self.calls = Slab::new();
        }
        if self.actions.is_empty() && self.actions.capacity() > MAX_IDLE_CAPACITY {
            self.actions = VecDeque::new();
        }
    }
}
