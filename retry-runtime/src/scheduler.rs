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

mod chunk;
mod clean;
mod dispatch;
mod function;
mod memory;
mod messages;
mod nested;
mod outcomes;
mod outstanding;
mod queue;
mod shutdown;
mod starts;
mod stop;
mod suspects;
mod tombstones;
mod window;
mod worker_index;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use outstanding::{Inflight, Outstanding};
use queue::Hold;
use starts::FailedStart;
use stop::Withdrawn;
use suspects::Suspicion;
use tombstones::Tombstones;
use worker_index::{Standing, Workers};

use crate::api::context::{Attempt, AttemptOutcome, CallId, remember};
use crate::api::error::{Cancelled, Limit, Rejected, Startup, TimedOut};
use crate::api::events::Event;
use crate::api::options::Policy;
use crate::job::budget::Budget;
use crate::job::outcome::{CallKey, Failure, History, Outcome};
use crate::job::parts::Parts;

pub(crate) use function::{Counts, FunctionPolicy};
use function::{Function, Lane};
pub(crate) use messages::{Answer, Executing, ExitReport, LastPanic, Progress, Reply};
pub(crate) use nested::Origin;
use nested::{Parent, Place};

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

/// What the outside is to do.
#[derive(Debug)]
pub(crate) enum Action<P> {
    /// Start a worker.
    Spawn { worker: WorkerKey },
    /// Hand a call to a worker.
    Send {
        worker: WorkerKey,
        ticket: u64,
        call: CallKey,
        attempt: u32,
    },
    /// Take back what the worker has not claimed; answered by [`Scheduler::recalled`].
    Recall { worker: WorkerKey },
    /// See what the worker is doing; answered by [`Scheduler::probed`].
    Probe { worker: WorkerKey },
    /// See how much memory the worker takes; answered by [`Scheduler::measured`].
    Measure { worker: WorkerKey },
    /// Tell a running function that it is to stop.
    Ask { worker: WorkerKey, ticket: u64 },
    /// Stop a running async function where it yields.
    Abort { worker: WorkerKey, ticket: u64 },
    /// Send the worker's process group the signal that asks it to end.
    Terminate { worker: WorkerKey },
    /// Kill the worker's process group.
    Kill { worker: WorkerKey },
    /// Let the worker end in order: it has nothing to do.
    Retire { worker: WorkerKey },
    /// Give a call's outcome to whoever waits for it.
    Resolve { payload: P, outcome: Outcome },
    /// Tell the subscribers.
    Publish(Event),
}

/// What holds for a call, shared by those that were made together.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The name of what is called; that of a service's pool is another one.
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    /// The retries that the call shares with others.
    pub(crate) budget: Option<Arc<Budget>>,
}

impl Terms {
    /// Whether these are the same, so that one can stand for the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.policy == other.policy
            && self.budget.is_none()
            && other.budget.is_none()
    }
}

/// A call, or a [chunk](chunk) of them.
#[derive(Debug)]
struct Call<P> {
    /// The first one's.
    id: CallId,
    function: FunctionKey,
    terms: Arc<Terms>,
    /// Not set while a deadline that begins when the call is sent has not begun.
    deadline: Option<Instant>,
    /// In a map the deadline begins with the first attempt, however long the input was queued.
    deadline_begins_when_sent: bool,
    state: State,
    /// The number of the attempt that is next or under way, from 1.
    attempt: u32,
    /// How many calls are above it.
    depth: u32,
    /// The call that made it, if one did.
    parent: Option<Box<Parent>>,
    /// Most calls have none.
    past: Option<Box<Past>>,
    payload: P,
}

/// The attempts that a call has behind it.
#[derive(Debug, Default)]
struct Past {
    /// Failures that were charged to the retry policy.
    failures: u32,
    /// One of them was a panic.
    panicked: bool,
    crashes: u32,
    suspicion: Suspicion,
    attempts: Vec<Attempt>,
    /// The last of those failures, for the case that the deadline ends the retries.
    last: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    /// Waiting for its next attempt.
    Delayed,
    Sent {
        worker: WorkerKey,
        /// The first one's.
        ticket: u64,
    },
}

#[derive(Debug)]
struct Worker {
    id: u64,
    function: FunctionKey,
    pid: Option<u32>,
    phase: Phase,
    outstanding: Outstanding,
    next_ticket: u64,
    /// What its functions have called, by the number that it gave it.
    children: HashMap<u32, CallKey>,
    next_child: u32,
    /// Calls that were sent and not recalled, ever.
    accepted: u64,
    /// When the worker is to be probed for an attempt that runs too long.
    probe_at: Option<Instant>,
    /// When its last answer was taken in.
    answered_at: Instant,
    /// A ticket that it neither executes nor answers, and when that was first seen.
    stalled: Option<(u64, Instant)>,
    idle_since: Instant,
    started: Instant,
    ready_at: Option<Instant>,
    idle_timer: bool,
    recall_pending: bool,
    measure_timer: bool,
    /// It asked to be replaced.
    used_up: bool,
    /// An attempt has panicked in it.
    panicked: bool,
    /// It is given no calls but those that need a worker in which nothing has panicked.
    kept: bool,
    /// It executes such calls, and what runs beside them might panic: it is given no others either.
    apart: bool,
    /// Something that it executes is to stop: it is given nothing more until that has ended.
    draining: bool,
    /// It is given nothing more until it has answered what it has.
    is_reserved: bool,
    /// The most memory that it was seen to take, in bytes.
    peak: u64,
    /// Where it is filed.
    place: usize,
    /// What it is filed as.
    standing: Standing,
    /// It may have changed since.
    dirty: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Ready,
    /// Was told to end; has nothing to do.
    Retiring,
    /// Was killed by us.
    Killed,
    /// Was killed by us because it broke the protocol.
    Broken(Box<str>),
    /// Was killed by us because it took more memory than it may.
    OutOfMemory,
    /// Failed to start and was killed; accounted for when it is gone and its output drained.
    FailedStart(Startup),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Retry(CallKey),
    Deadline(CallKey),
    Probe(WorkerKey),
    Startup(WorkerKey),
    Start(FunctionKey),
    Place(FunctionKey),
    Idle(WorkerKey),
    Stop(WorkerKey),
    Measure(WorkerKey),
    TearDown(WorkerKey),
    ShutDown,
}

/// Whether everything that workers have sent by now was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Drained,
    Undrained,
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

impl CallKey {
    /// The key of a call that another process schedules.
    pub(crate) fn nested(id: CallId) -> Self {
        Self { index: 0, id }
    }
}

/// What may have printed what a worker has printed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printing {
    /// No call.
    Nothing,
    /// The one with this ticket.
    One(u64),
    /// One of several, or several.
    Several,
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

    /// The time at which [`tick`](Self::tick) is to be called next.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns what has become of the calls of each function, and how many
    /// of them are being executed. All configurations of a service are one.
    pub(crate) fn counts(&self) -> Vec<(&'static str, Counts, usize)> {
        let removed = self
            .removed
            .iter()
            .map(|(name, counts)| (*name, *counts, 0));
        let mut all: Vec<_> = removed.collect();
        let mut places: HashMap<_, _> = all.iter().map(|one| one.0).zip(0..).collect();
        for (_, function) in &self.functions {
            let name = function.policy.name;
            let workers = function.index.keys().iter();
            let inputs = workers.map(|key| self.workers[*key].outstanding.inputs());
            let running: usize = inputs
                .map(|inputs| inputs.min(function.policy.at_once))
                .sum();
            let place = *places.entry(name).or_insert_with(|| {
                all.push((name, Counts::default(), 0));
                all.len() - 1
            });
            all[place].1.add(function.counts);
            all[place].2 += running;
        }
        all
    }

    /// What holds for a call, and the payload.
    pub(crate) fn payload(&self, call: CallKey) -> Option<(&Terms, &P)> {
        self.call(call).map(|call| (&*call.terms, &call.payload))
    }

    /// The workers of a function.
    pub(crate) fn workers_of(&self, function: FunctionKey) -> &[WorkerKey] {
        let function = self.functions.get(function.0);
        function.map_or(&[], |function| function.index.keys())
    }

    /// Who may answer a call: the worker that has it, or those that may come to have it.
    pub(crate) fn workers_for(&self, call: CallKey) -> &[WorkerKey] {
        let Some(call) = self.call(call) else {
            return &[];
        };
        match &call.state {
            State::Queued | State::Delayed => self.workers_of(call.function),
            State::Sent { worker, .. } => std::slice::from_ref(worker),
        }
    }

    /// The worker that has a call, if one has.
    pub(crate) fn sent_to(&self, call: CallKey) -> Option<WorkerKey> {
        match self.call(call)?.state {
            State::Queued | State::Delayed => None,
            State::Sent { worker, .. } => Some(worker),
        }
    }

    /// Whether attempts at a function take less time than it takes to wake a thread.
    pub(crate) fn is_quick(&self, function: FunctionKey) -> bool {
        self.functions[function.0].is_quick()
    }

    /// Whether all calls wait for their next attempt.
    pub(crate) fn only_waits(&self) -> bool {
        !self.calls.is_empty() && self.delayed == self.calls.len()
    }

    pub(crate) fn function_of(&self, worker: WorkerKey) -> Option<(FunctionKey, &FunctionPolicy)> {
        let function = self.worker(worker)?.function;
        Some((function, &self.functions[function.0].policy))
    }

    /// Whether a worker that was asked for is still to come up.
    pub(crate) fn is_wanted(&self, worker: WorkerKey) -> bool {
        self.worker(worker)
            .is_some_and(|worker| worker.phase == Phase::Starting)
    }

    /// Returns what a worker is executing, given the last ticket that it claimed.
    pub(crate) fn printing(&self, worker: WorkerKey, claimed: u64) -> Printing {
        let Some(worker) = self.worker(worker) else {
            return Printing::Nothing;
        };
        let outstanding = &worker.outstanding;
        let mut several = outstanding.iter().take_while(|one| one.ticket <= claimed);
        match (several.next(), several.next()) {
            (None, _) => Printing::Nothing,
            // What is claimed after the first may be answered already.
            (Some(one), None) if one.count == 1 || one.ticket == claimed => {
                Printing::One(one.ticket)
            }
            _ => Printing::Several,
        }
    }

    /// Returns the call that a worker has under a ticket, and its place in its map.
    pub(crate) fn call_of(
        &self,
        worker: WorkerKey,
        ticket: u64,
    ) -> Option<(CallId, Option<u64>, &P)> {
        let inflight = self.worker(worker)?.outstanding.get(ticket)?;
        let call = self.call(inflight.call?)?;
        let behind = ticket - inflight.ticket;
        let index = call.payload.index().map(|index| index + behind);
        Some((CallId(call.id.0 + behind), index, &call.payload))
    }

    /// Whether a worker has answered everything up to this ticket, or has no longer to.
    pub(crate) fn executes_nothing(&self, worker: WorkerKey, claimed: u64) -> bool {
        let executes = |worker: &Worker| worker.outstanding.any_up_to(claimed);
        !self.worker(worker).is_some_and(executes)
    }

    /// The last ticket that was sent to a worker.
    pub(crate) fn last_ticket(&self, worker: WorkerKey) -> u64 {
        self.worker(worker)
            .map_or(0, |worker| worker.next_ticket - 1)
    }

    // ---------------------------------------------------------------- calls

    /// A call was made, or a chunk of them. [`dispatch`](Self::dispatch) is to follow; many calls
    /// may share one.
    pub(crate) fn submit(
        &mut self,
        now: Instant,
        function: FunctionKey,
        terms: Arc<Terms>,
        payload: P,
    ) -> CallKey {
        let id = CallId(self.next_call);
        self.next_call += u64::from(payload.count());
        let key = self.enter(now, function, terms, payload, Place { id, ..Place::TOP });
        if self.draining && self.call(key).is_some() {
            let why = Withdrawn::Unwanted(Failure::Rejected(Rejected::ShutDown));
            self.withdraw(key, why);
        }
        key
    }

    fn enter(
        &mut self,
        now: Instant,
        function: FunctionKey,
        terms: Arc<Terms>,
        payload: P,
        place: Place,
    ) -> CallKey {
        let Place {
            id,
            parent,
            depth,
            deadline_is_inherited,
        } = place;
        let (name, count) = (terms.name, payload.count());
        let deadline_begins_when_sent = payload.index().is_some() && !deadline_is_inherited;
        let limit = terms.policy.deadline.filter(|_| !deadline_begins_when_sent);
        let deadline = limit.and_then(|limit| now.checked_add(limit));
        let key = self.insert(Call {
            id,
            function,
            terms,
            deadline,
            deadline_begins_when_sent,
            state: State::Queued,
            attempt: 1,
            depth,
            parent: parent.map(Box::new),
            past: None,
            payload,
        });
        self.functions[function.0].counts.submitted += u64::from(count);
        if self.observed {
            for call in id.following(count) {
                self.publish(Event::CallQueued {
                    function: name,
                    call,
                    parent: parent.map(|parent| parent.call),
                });
            }
        }
        if let Some(at) = deadline {
            self.arm(at, Timer::Deadline(key));
        }
        self.enqueue_back(now, key);
        key
    }

    fn insert(&mut self, call: Call<P>) -> CallKey {
        let calls = &mut self.calls;
        if calls.len() == calls.capacity() {
            // Twice as much would be up to as much again for each call that waits.
            calls.reserve_exact((calls.len() / GROWTH).max(GROWTH));
        }
        let id = call.id;
        let index = calls.insert(call);
        CallKey { index, id }
    }

    /// Nobody wants the results of these calls any more.
    pub(crate) fn cancel(&mut self, calls: impl IntoIterator<Item = CallKey>, why: Cancelled) {
        for key in calls {
            self.withdraw(key, Withdrawn::Unwanted(Failure::Cancelled(why)));
        }
    }

    /// The same for all calls whose payload is such.
    pub(crate) fn cancel_where(&mut self, is_unwanted: impl Fn(&P) -> bool, why: Cancelled) {
        let keys = self.keys_where(|call| is_unwanted(&call.payload));
        self.cancel(keys, why);
    }

    fn keys_where(&self, is_meant: impl Fn(&Call<P>) -> bool) -> Vec<CallKey> {
        self.calls
            .iter()
            .filter(|(_, call)| is_meant(call))
            .map(|(index, call)| CallKey { index, id: call.id })
            .collect()
    }

    // -------------------------------------------------------------- workers

    /// The worker's process exists.
    pub(crate) fn spawned(&mut self, now: Instant, key: WorkerKey, pid: u32) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.pid = Some(pid);
        let function = worker.function;
        if worker.phase == Phase::Starting {
            let limit = self.functions[function.0].policy.startup_timeout;
            if let Some(at) = now.checked_add(limit) {
                self.arm(at, Timer::Startup(key));
            }
            self.arm_measure(now, key);
        }
    }

    /// The worker's set-up is done.
    pub(crate) fn ready(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.phase != Phase::Starting {
            return;
        }
        worker.phase = Phase::Ready;
        worker.idle_since = now;
        worker.ready_at = Some(now);
        let (function, worker_pid) = (worker.function, worker.pid);
        self.outdate(1);
        self.functions[function.0].starts.succeeded(now);
        self.places.retain(|other| *other != function);
        if self.observed {
            let function = self.functions[function.0].policy.name;
            self.publish(Event::WorkerUp {
                function,
                worker_pid,
            });
        }
        self.dispatch(now, function);
        self.arm_idle(key);
    }

    /// The worker told why it cannot become ready.
    pub(crate) fn failed_to_start(&mut self, key: WorkerKey, startup: Startup) {
        if let Some(worker) = self.worker(key)
            && worker.phase == Phase::Starting
        {
            self.kill(key, Phase::FailedStart(startup));
        }
    }

    /// The worker answered. [`go_on`](Self::go_on) is to follow; many answers may share
    /// one. An answer to what was not asked breaks the protocol.
    pub(crate) fn finished(
        &mut self,
        now: Instant,
        key: WorkerKey,
        ticket: u64,
        reply: Reply,
    ) -> Result<Option<FunctionKey>, UnknownTicket> {
        let Some(function) = self.worker(key).map(|worker| worker.function) else {
            return Ok(None);
        };
        let used_up = reply.used_up;
        let panicked = matches!(reply.answer, Answer::Panicked(_));
        let state = &mut self.functions[function.0];
        if reply.timed > 0 {
            state.took(reply.duration, reply.timed);
        }
        match reply.answer {
            Answer::Ok(values) => self.succeeded(now, key, ticket, values)?,
            answer => self.failed(now, key, ticket, Reply { answer, ..reply })?,
        }
        if panicked {
            self.worker_panicked(key);
        }
        let worker = &mut self.workers[key];
        // Looked at only then: there may be hundreds on their way.
        if worker.draining {
            worker.draining = worker.outstanding.iter().any(|one| one.stop.is_some());
        }
        worker.used_up |= used_up;
        worker.answered_at = now;
        if worker.outstanding.is_empty() {
            worker.rests(now);
            self.arm_idle(key);
        } else if used_up {
            self.recall(key);
        }
        self.retire_when_used_up(now, key);
        Ok(Some(function))
    }

    /// The worker sent something that makes no sense.
    pub(crate) fn broken(&mut self, key: WorkerKey, reason: Box<str>) {
        if let Some(worker) = self.worker(key) {
            match worker.phase {
                Phase::Ready | Phase::Retiring => self.kill(key, Phase::Broken(reason)),
                Phase::Starting => self.failed_to_start(key, Startup::Handshake(reason)),
                Phase::Killed | Phase::Broken(_) | Phase::OutOfMemory | Phase::FailedStart(_) => {}
            }
        }
    }

    /// What the worker had not claimed was taken back: everything after `claimed`.
    pub(crate) fn recalled(&mut self, now: Instant, key: WorkerKey, claimed: u64) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.recall_pending = false;
        let function = worker.function;
        self.part(key, claimed + 1);
        let worker = &mut self.workers[key];
        let mut recalled = Vec::new();
        while let Some(inflight) = worker.outstanding.pop_after(claimed) {
            worker.accepted -= u64::from(inflight.count);
            recalled.extend(inflight.call.map(|call| (call, inflight.withdrawn)));
        }
        if worker.outstanding.is_empty() {
            worker.rests(now);
        }
        // These were claimed: they are being executed, or done and not reported yet.
        if worker.outstanding.iter().any(Inflight::is_to_end) {
            self.actions.push_back(Action::Probe { worker: key });
        }
        for (call, withdrawn) in recalled {
            let put_off = self.unbegin_deadline(call);
            match withdrawn.as_deref() {
                Some(Withdrawn::Deadline) if put_off => self.enqueue_front(now, call),
                // This attempt never ran.
                Some(withdrawn) => self.end_withdrawn_call(call, withdrawn, None),
                None => self.enqueue_front(now, call),
            }
        }
        self.hand_out(now, function);
        self.scale(now, function);
        self.retire_when_used_up(now, key);
        self.arm_idle(key);
    }

    /// The worker's process has ended, and everything it had sent was taken in before.
    pub(crate) fn exited(&mut self, now: Instant, key: WorkerKey, mut report: ExitReport) {
        // Each of those that were executing is looked at by itself.
        self.isolate_up_to(key, report.claimed);
        let Some(worker) = self.remove_worker(key) else {
            return;
        };
        let function = worker.function;
        let limit = self.functions[function.0].policy.memory;
        report.cause = worker.cause(report.cause, limit);
        self.cancel_children(worker.children.values().copied().collect());
        if self.observed {
            let function = self.functions[function.0].policy.name;
            self.publish(Event::WorkerDown {
                function,
                worker_pid: worker.pid,
                cause: report.cause,
            });
        }
        match worker.phase {
            Phase::Starting => {
                let startup = match report.panic {
                    Some(last) => Startup::SetUp(format!("panicked: {}", last.panic).into()),
                    None => Startup::Exited(report.cause),
                };
                let failed = FailedStart {
                    startup,
                    stderr_tail: report.stderr_tail,
                    is_for_want_of_resources: false,
                };
                self.start_failed(now, function, worker.id, failed);
            }
            Phase::FailedStart(startup) => {
                let failed = FailedStart {
                    startup,
                    stderr_tail: report.stderr_tail,
                    is_for_want_of_resources: false,
                };
                self.start_failed(now, function, worker.id, failed);
            }
            Phase::Ready
            | Phase::Retiring
            | Phase::Killed
            | Phase::Broken(_)
            | Phase::OutOfMemory => self.take_over(now, worker, report),
        }
        self.dispatch(now, function);
        self.place_is_free(now);
    }

    /// Time has passed. Returns whether a limit is due that can only be enforced once everything has
    /// been taken in that had arrived by then; nothing after it is done either.
    pub(crate) fn tick(&mut self, now: Instant, inbound: Inbound) -> bool {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied()
            && at <= now
        {
            if inbound == Inbound::Undrained && self.is_limit(timer, now) {
                return true;
            }
            self.timers.pop();
            match timer {
                Timer::Retry(key) => {
                    if let Some(call) = self.call(key) {
                        let function = call.function;
                        self.enqueue_back(now, key);
                        self.dispatch(now, function);
                    }
                }
                Timer::Deadline(key) => {
                    // It may have been put off since.
                    let deadline = self.call(key).and_then(|call| call.deadline);
                    if deadline.is_some_and(|at| at <= now) {
                        self.withdraw(key, Withdrawn::Deadline);
                    }
                }
                Timer::Probe(key) => {
                    if let Some(worker) = self.worker_mut(key)
                        && worker.probe_at.take_if(|at| *at <= now).is_some()
                        && !worker.outstanding.is_empty()
                    {
                        self.actions.push_back(Action::Probe { worker: key });
                    }
                }
                Timer::Startup(key) => {
                    if let Some(worker) = self.worker(key) {
                        let limit = self.functions[worker.function.0].policy.startup_timeout;
                        let startup = Startup::TimedOut(TimedOut::new(Limit::Startup, limit));
                        self.failed_to_start(key, startup);
                    }
                }
                Timer::Start(function) if self.functions.contains(function.0) => {
                    self.dispatch(now, function);
                }
                Timer::Place(function) if self.functions.contains(function.0) => {
                    self.place_is_overdue(now, function);
                }
                Timer::Start(_) | Timer::Place(_) => {}
                Timer::Idle(key) => self.idle_too_long(now, key),
                Timer::Stop(key) => self.stop_further(now, key),
                Timer::Measure(key) => self.measure(key),
                Timer::ShutDown => self.grace_is_over(),
                Timer::TearDown(key) => {
                    if self
                        .worker(key)
                        .is_some_and(|worker| worker.phase == Phase::Retiring)
                    {
                        self.kill(key, Phase::Killed);
                    }
                }
            }
        }
        false
    }

    /// Returns whether a timer that is due stands for a limit, which what a worker has said since may
    /// have kept.
    fn is_limit(&self, timer: Timer, now: Instant) -> bool {
        match timer {
            Timer::Deadline(key) => {
                let deadline = self.call(key).and_then(|call| call.deadline);
                deadline.is_some_and(|at| at <= now)
            }
            Timer::Probe(key) => self
                .worker(key)
                .is_some_and(|worker| worker.probe_at.is_some_and(|at| at <= now)),
            Timer::Startup(key) => self.is_wanted(key),
            Timer::Stop(key) | Timer::TearDown(key) => self.worker(key).is_some(),
            Timer::ShutDown => true,
            Timer::Start(_) | Timer::Place(_) => false,
            Timer::Retry(_) | Timer::Idle(_) | Timer::Measure(_) => false,
        }
    }

    // ------------------------------------------------------------- inside

    /// A call was taken back before its worker began it: a deadline that begins with its first attempt
    /// has not begun either. Returns whether that is so.
    fn unbegin_deadline(&mut self, key: CallKey) -> bool {
        let Some(call) = self.call_mut(key) else {
            return false;
        };
        let unbegun = call.deadline_begins_when_sent && call.attempt == 1;
        if unbegun && call.deadline.take().is_some() {
            self.outdate(1);
        }
        unbegun
    }

    /// Kills a worker; what it has not claimed goes back into the queue at once.
    fn kill(&mut self, key: WorkerKey, phase: Phase) {
        self.recall(key);
        if let Some(worker) = self.worker_mut(key) {
            worker.phase = phase;
            self.actions.push_back(Action::Kill { worker: key });
        }
    }

    fn arm_probe(&mut self, key: WorkerKey, at: Instant) {
        let worker = &mut self.workers[key];
        if worker.probe_at.is_none_or(|armed| at < armed) {
            worker.probe_at = Some(at);
            self.arm(at, Timer::Probe(key));
        }
    }

    fn arm(&mut self, at: Instant, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    /// So many timers are for something that is over.
    fn outdate(&mut self, timers: usize) {
        if !self.outdated_timers.add(timers, self.timers.len()) {
            return;
        }
        let mut timers = std::mem::take(&mut self.timers);
        timers.retain(|Reverse((_, timer))| match *timer {
            Timer::Retry(call) | Timer::Deadline(call) => self.call(call).is_some(),
            Timer::Startup(worker) => self.is_wanted(worker),
            Timer::Probe(worker)
            | Timer::Idle(worker)
            | Timer::Stop(worker)
            | Timer::Measure(worker)
            | Timer::TearDown(worker) => self.worker(worker).is_some(),
            Timer::Start(_) | Timer::Place(_) | Timer::ShutDown => true,
        });
        timers.shrink_to(2 * timers.len());
        self.timers = timers;
    }

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

    fn call(&self, key: CallKey) -> Option<&Call<P>> {
        self.calls.get(key.index).filter(|call| call.id == key.id)
    }

    fn call_mut(&mut self, key: CallKey) -> Option<&mut Call<P>> {
        self.calls
            .get_mut(key.index)
            .filter(|call| call.id == key.id)
    }

    fn worker(&self, key: WorkerKey) -> Option<&Worker> {
        self.workers.get(key)
    }

    fn worker_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.workers.get_mut(key)
    }
}

/// A worker answered a ticket that it does not hold.
#[derive(Debug)]
pub(crate) struct UnknownTicket;

/// How an attempt ended, for the call's history.
struct AttemptEnd {
    outcome: AttemptOutcome,
    start: Instant,
    duration: Duration,
    pid: Option<u32>,
    stderr_tail: Option<Arc<str>>,
    error: Option<Box<str>>,
    /// Why the call is to end now, if it was withdrawn while the attempt ran.
    withdrawn: Option<Box<Withdrawn>>,
}

impl<P> Call<P> {
    fn record(&mut self, end: AttemptEnd) {
        let attempt = Attempt {
            number: self.attempt,
            worker_pid: end.pid,
            start: end.start,
            duration: end.duration,
            outcome: end.outcome,
            error: end.error,
        };
        remember(&mut self.past().attempts, attempt);
        self.attempt += 1;
    }

    /// Returns the kind of workers that its next attempt needs.
    fn lane(&self) -> Lane {
        if self.needs_clean() {
            Lane::Clean
        } else if self.is_suspect() {
            Lane::Alone
        } else {
            Lane::Any
        }
    }

    /// Returns whether only a worker will do in which nothing has panicked.
    fn needs_clean(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.panicked)
    }

    fn past(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }
}

impl Worker {
    fn new(id: u64, function: FunctionKey, now: Instant) -> Self {
        Self {
            id,
            function,
            pid: None,
            phase: Phase::Starting,
            outstanding: Outstanding::default(),
            next_ticket: 1,
            children: HashMap::new(),
            next_child: 0,
            accepted: 0,
            probe_at: None,
            answered_at: now,
            stalled: None,
            idle_since: now,
            started: now,
            ready_at: None,
            idle_timer: false,
            recall_pending: false,
            measure_timer: false,
            used_up: false,
            panicked: false,
            kept: false,
            apart: false,
            draining: false,
            is_reserved: false,
            peak: 0,
            place: 0,
            standing: Standing::default(),
            dirty: false,
        }
    }

    /// Whether it executes something, or something that it called is under way.
    fn is_busy(&self) -> bool {
        !self.outstanding.is_empty() || !self.children.is_empty()
    }

    /// It has answered all that it had.
    fn rests(&mut self, now: Instant) {
        self.idle_since = now;
        self.is_reserved = false;
        self.apart = false;
    }

    /// Whether it can be given calls.
    fn takes_calls(&self, policy: &FunctionPolicy) -> bool {
        !self.kept && !self.apart && self.takes_some_calls(policy)
    }

    /// Returns whether it can be given calls of one kind or another.
    fn takes_some_calls(&self, policy: &FunctionPolicy) -> bool {
        self.phase == Phase::Ready
            && !self.draining
            && !self.is_reserved
            && self.children.is_empty()
            && self.remaining(policy) > 0
    }

    /// How many more calls it may take.
    fn remaining(&self, policy: &FunctionPolicy) -> u64 {
        if self.used_up {
            return 0;
        }
        policy
            .max_calls_per_worker
            .map_or(u64::MAX, |most| most.saturating_sub(self.accepted))
    }
}
