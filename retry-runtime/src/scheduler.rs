//! The decisions: which call runs where and when, and what becomes of it.
//!
//! A pure state machine. What happened goes in as method calls with the time given; what is to
//! be done comes out as [`Action`]s. There is no I/O here, no clock, no thread and no lock, so
//! that every rule can be tested by the million.
//!
//! Several inputs may be on their way to a worker. Each has a ticket, counted up per worker. A
//! worker *claims* a ticket before it runs the input, in memory that the parent can read also
//! after the worker's death; and the parent can *recall* all tickets that are not claimed yet.
//! Thus it is always exact which input was executing, and nothing is stranded behind a slow one.

mod calls;
mod chunk;
mod clean;
mod dispatch;
mod function;
mod memory;
mod messages;
mod nested;
mod outcomes;
mod outstanding;
mod queries;
mod queue;
mod shutdown;
mod starts;
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
use std::time::{Duration, Instant};

use slab::Slab;

use outstanding::Inflight;
use queue::Hold;
use tombstones::Tombstones;
use worker_index::Workers;

use crate::api::context::CallId;
use crate::api::events::Event;
use crate::job::outcome::{CallKey, Failure, History, Outcome};
use crate::job::parts::Parts;

pub(crate) use calls::Terms;
use calls::{AttemptEnd, Call, Past, State};
use function::Function;
pub(crate) use function::{Counts, FunctionPolicy};
pub(crate) use messages::{
    Action, Answer, Executing, ExitReport, Inbound, LastPanic, Printing, Progress, Reply,
    UnknownTicket,
};
pub(crate) use nested::Origin;
use timers::Timer;
use workers::{Phase, Worker};

/// An input that has been executing in this many crashes is given up.
const CRASHES_PER_INPUT: u32 = 3;

/// The table of calls grows by this part of itself, and by as many entries at least.
const GROWTH: usize = 8;

/// Places for more than so many are given back when none of them is taken.
const MANY: usize = 4096;

/// The longest delay that an error may ask for.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a worker that ends in order may take for its teardown.
const TEAR_DOWN: Duration = Duration::from_secs(30);

/// A registered function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionKey(usize);

impl FunctionKey {
    /// Its place among all functions; another one may have it once this one is removed.
    pub(crate) fn place(self) -> usize {
        self.0
    }
}

/// A worker process. Keys are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerKey {
    index: usize,
    pub(crate) id: u64,
}

/// The state of all calls, workers and functions of one runtime.
pub(crate) struct Scheduler<P> {
    calls: Slab<Call<P>>,
    /// How many of them wait for their next attempt.
    delayed: usize,
    workers: Workers,
    functions: Slab<Function>,
    /// What has become of the calls of functions that were removed.
    removed: BTreeMap<&'static str, Counts>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    outdated_timers: Tombstones,
    actions: VecDeque<Action<P>>,
    /// No further calls are taken.
    draining: bool,
    /// What does not run yet is cancelled.
    cancels_queued: bool,
    /// What the shutdown did not wait for.
    abandoned: Vec<(CallId, &'static str)>,
    /// Workers that are left when its grace is over are killed, and these were.
    kills_workers: bool,
    killed_at_shutdown: Vec<(Option<u32>, &'static str)>,
    /// Functions whose workers are to be seen to before anything else.
    unsettled: Vec<FunctionKey>,
    /// Workers whose own calls have ended after what they executed: they may be used up.
    rejoined: Vec<WorkerKey>,
    /// Callers that take no further results for now.
    holds: Vec<Hold>,
    /// The most processes that all functions may have together.
    max_processes: Option<usize>,
    /// Functions without a worker that wait for a place for one, in their order.
    places: VecDeque<FunctionKey>,
    random: fastrand::Rng,
    next_call: u64,
    next_worker: u64,
    observed: bool,
}

impl<P: Parts> Scheduler<P> {
    /// A scheduler without functions; `seed` decides the jitter of retries.
    pub(crate) fn new(seed: u64) -> Self {
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
            next_call: 1,
            next_worker: 1,
            observed: false,
        }
    }

    pub(crate) fn add_function(&mut self, policy: FunctionPolicy) -> FunctionKey {
        FunctionKey(self.functions.insert(Function::new(policy)))
    }

    /// Forgets a function if nothing of it is left: no call, no worker, no crash that counts. Returns
    /// whether it did.
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
            && !function.has_crashed_lately(now);
        if is_unused && !self.places.contains(&key) && !self.unsettled.contains(&key) {
            let function = self.functions.remove(key.0);
            let counts = self.removed.entry(function.policy.name).or_default();
            counts.add(function.counts);
            return true;
        }
        false
    }

    /// Whether events are to be published.
    pub(crate) fn set_observed(&mut self, observed: bool) {
        self.observed = observed;
    }

    pub(crate) fn next_action(&mut self) -> Option<Action<P>> {
        self.actions.pop_front()
    }

    // ---------------------------------------------------------------- calls

    // -------------------------------------------------------------- workers

    // ------------------------------------------------------------- inside

    /// Gives back what a burst has left behind.
    fn tidy(&mut self) {
        if self.calls.is_empty() && self.calls.capacity() > MANY {
            self.calls = Slab::new();
        }
        if self.actions.is_empty() && self.actions.capacity() > MANY {
            self.actions = VecDeque::new();
        }
    }

    fn publish(&mut self, event: Event) {
        self.actions.push_back(Action::Publish(event));
    }
}
