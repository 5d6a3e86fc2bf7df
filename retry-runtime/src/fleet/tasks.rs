//! Decides which calls travel together, and resolves them when their tasks end.
//!
//! A pure state machine, as the scheduler is: events come in as method calls with the current time, and decisions
//! go out as [`Action`]s. It knows an engine by its tasks only.

mod answers;
mod attached;
mod publishing;
mod sending;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sizing::Sizing;
use crate::api::call_id::CallNumber;
use crate::api::context::short_name;
use crate::api::engine::{Hosts, Queue, Task, TaskId};
use crate::api::events::{EventKind, Interest, Record};
use crate::api::failure::{Cancelled, Limit, Rejected, Startup, TimedOut, Waiting};
use crate::api::options::Policy;
use crate::api::run::RunId;
use crate::api::spec::FunctionSpec;
use crate::codec::payload::Payload;
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::function::service_config::ServiceConfig;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::call_site::CallSite;
use crate::job::caller::Caller;
use crate::job::outcome::{Failure, History, Outcome};
use crate::job::parts::Parts;
use crate::job::resumption::Resumption;
use crate::scheduler::{Counts, FunctionReading, Numbers};
use attached::Attached;

/// The number of bytes that there should be for each input in the largest body and the largest answer, whatever
/// its size.
const INPUT_BYTES: usize = 256;

/// The time after a deadline within which the machine that has a call may still say how it ended.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The number of times within the `startup_timeout` that the engine is asked whether there are machines.
const ASKED: u32 = 10;

/// The shortest time between two of these questions, unless the `startup_timeout` is shorter.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

/// The number of deadlines from which on those of calls that have ended are removed.
const MIN_CLEANED_DEADLINES: usize = 1024;

/// The settings that all calls of a fleet share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) run: RunId,
    /// The version of the program, for the names of queues.
    pub(crate) version: u64,
    pub(crate) host_timeout: Duration,
    /// The time after which a function that no machine has answered for may be served by none.
    /// Without it, that of the function applies.
    pub(crate) startup_timeout: Option<Duration>,
    pub(crate) max_body: usize,
}

impl Settings {
    /// Returns how many inputs a task may have, so that its body and its answer are not too large whatever they say.
    fn most_inputs(&self) -> u32 {
        let most = (self.max_body / INPUT_BYTES).max(1);
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}

/// A decision to carry out.
pub(crate) enum Action {
    Submit {
        number: u64,
        task: Task,
    },
    Cancel(TaskId),
    /// Wait for the end of a task that was submitted before.
    Attach {
        number: u64,
        id: TaskId,
    },
    FindHosts {
        pool: PoolKey,
        queue: Queue,
    },
    Resolve {
        job: Job,
        outcome: Outcome,
    },
    /// Publish an event to the subscribers. Boxed, since it is large and rare.
    Publish(Box<Record>),
}

/// A function, or a service with its configuration.
pub(crate) type PoolKey = (&'static str, Option<ServiceConfig>);

/// The calls of this process to other machines, through one engine.
pub(crate) struct Tasks {
    settings: Settings,
    numbers: Arc<Numbers>,
    pools: BTreeMap<PoolKey, Pool>,
    /// The calls and chunks of calls that have no outcome yet, by the number of the first call.
    calls: BTreeMap<CallNumber, Call>,
    tasks: BTreeMap<u64, UnderWay>,
    /// The tasks that were not submitted here.
    attached: BTreeMap<u64, Attached>,
    deadlines: BinaryHeap<Reverse<(Instant, CallNumber)>>,
    actions: VecDeque<Action>,
    counts: BTreeMap<&'static str, Counts>,
    /// Set once the fleet shuts down: new calls are rejected.
    is_closed: bool,
    /// Set if the shutdown cancels calls that machines hand back.
    cancels_queued: bool,
    /// The time at which the calls that are left are given up.
    close_at: Option<Instant>,
    abandoned: Vec<(CallNumber, &'static str)>,
    /// The calls that go on although the shutdown does not wait for them.
    left: Vec<(CallNumber, &'static str)>,
    /// The callers that accept no further results for now, with the index of the input that is sent nevertheless.
    holds: Vec<(Caller, Option<u64>)>,
    interest: Interest,
}

/// The calls of one function.
struct Pool {
    /// The queued calls of each caller. The callers take turns, the first one is next.
    lines: VecDeque<Line>,
    sizing: Sizing,
    /// The number of tasks that have not ended.
    tasks: usize,
    /// The number of these that were sent with a delay. They do not count as tasks that keep machines busy.
    delayed: usize,
    /// The time of the last answer, or of the first task after there was none under way.
    silent_since: Instant,
    /// The time of the next question whether there are machines. A function may have all the time there is.
    ask_at: Option<Instant>,
    /// The time at which there was one, at the last question that found one.
    found_at: Option<Instant>,
    startup_timeout: Duration,
    /// Set once a machine has answered.
    has_answered: bool,
    /// The time at which to look at the queue again.
    look_at: Option<Instant>,
}

/// The queued calls of one caller, in their order. Some may have ended or been sent.
struct Line {
    caller: Caller,
    calls: VecDeque<CallNumber>,
    /// The number of inputs that its map is going to submit after these, if it is known.
    to_come: Option<u64>,
}

/// A call, or a chunk of calls to which the same has happened so far.
struct Call {
    pool: PoolKey,
    registration: &'static Registration,
    terms: Arc<Terms>,
    job: Job,
    resumption: Option<Box<Resumption>>,
    queued: Instant,
    deadline: Option<Instant>,
    task: Option<u64>,
    /// Set if the call has been in a task before.
    was_sent: bool,
}

#[derive(Debug)]
struct Terms {
    policy: Policy,
    budget: Option<Arc<Budget>>,
    /// The line of the program that made the call.
    called: Option<CallSite>,
    /// Set if the call goes on although this program ends. Such calls travel alone, since inputs of maps never are.
    is_detached: bool,
}

/// A task that has not ended.
struct UnderWay {
    pool: PoolKey,
    id: TaskId,
    /// The calls by their first numbers, with the count of each, in the order of the task.
    calls: Vec<(CallNumber, u32)>,
    terms: Arc<Terms>,
    /// The retries that are lent to the machine.
    lent: u64,
    /// The time for which no machine might get it, and its end.
    delay: Duration,
    due: Instant,
    is_cancelled: bool,
    /// Set once the engine has said that its service has the task.
    is_accepted: bool,
}

impl Tasks {
    pub(crate) fn new(settings: Settings, numbers: Arc<Numbers>) -> Self {
        Self {
            settings,
            numbers,
            pools: BTreeMap::new(),
            calls: BTreeMap::new(),
            tasks: BTreeMap::new(),
            attached: BTreeMap::new(),
            deadlines: BinaryHeap::new(),
            actions: VecDeque::new(),
            counts: BTreeMap::new(),
            is_closed: false,
            cancels_queued: false,
            close_at: None,
            abandoned: Vec::new(),
            left: Vec::new(),
            holds: Vec::new(),
            interest: Interest::Nothing,
        }
    }

    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Returns whether all calls have an outcome, and none will come.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_closed && self.calls.is_empty() && self.attached.is_empty()
    }

    /// Returns the calls that go on although the shutdown does not wait for them: it may end before their results are
    /// there.
    pub(crate) fn left(&self) -> &[(CallNumber, &'static str)] {
        &self.left
    }

    /// Returns the calls that the shutdown gave up.
    pub(crate) fn abandoned(&self) -> &[(CallNumber, &'static str)] {
        &self.abandoned
    }

    /// Returns how many inputs machines may be executing, and how many wait for being sent, of those that the end of the
    /// program waits for.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let count = |is_sent: bool| {
            let meant = self
                .calls
                .values()
                .filter(|call| call.task.is_some() == is_sent && !(is_sent && call.may_be_left()));
            meant.map(|call| call.job.count() as usize).sum()
        };
        (count(true), count(false))
    }

    /// Reads the calls of each function.
    pub(crate) fn read(&self) -> Vec<FunctionReading> {
        let reading = |(name, counts): (&&'static str, &Counts)| {
            let calls = self.calls.values();
            let sent = calls.filter(|call| call.pool.0 == *name && call.task.is_some());
            let mut pools = self.pools.iter().filter(|((pool, _), _)| pool == name);
            FunctionReading {
                name,
                counts: *counts,
                is_unanswered: pools.any(|(_, pool)| pool.tasks > 0 && !pool.has_answered),
                executing: sent.map(|call| call.job.count() as usize).sum(),
                ..FunctionReading::default()
            }
        };
        self.counts.iter().map(reading).collect()
    }

    pub(crate) fn counts(&self, function: &str) -> Counts {
        self.counts.get(function).copied().unwrap_or_default()
    }

    /// Takes in a new call or a chunk of calls. [`dispatch`](Self::dispatch) sends them.
    pub(crate) fn submit(&mut self, now: Instant, callee: &Callee, job: Job) -> CallNumber {
        let id = self.numbers.take_calls(job.count());
        let spec = callee.registration.pool();
        let counts = self.counts.entry(spec.name).or_default();
        counts.submitted += u64::from(job.count());
        if self.is_closed {
            let why = Failure::Rejected(Rejected::ShutDown);
            self.end_call(spec.name, id, job, Err(why), None);
            return id;
        }
        let config = callee.config.as_ref();
        if !job.objects.is_empty() || config.is_some_and(|config| !config.objects().is_empty()) {
            let reason = "a `Shared` cannot be passed to other machines; pass what it is made of";
            let why = Failure::Rejected(Rejected::Engine(reason.into()));
            self.end_call(spec.name, id, job, Err(why), None);
            return id;
        }
        let pool = (spec.name, callee.config.clone());
        let known = self.pools.entry(pool.clone()).or_insert_with(|| Pool {
            lines: VecDeque::new(),
            sizing: Sizing::new(batch_size(spec)),
            tasks: 0,
            delayed: 0,
            silent_since: now,
            ask_at: None,
            found_at: None,
            startup_timeout: self
                .settings
                .startup_timeout
                .unwrap_or(spec.startup_timeout),
            has_answered: false,
            look_at: None,
        });
        let line = known.line(job.caller);
        line.calls.push_back(id);
        line.to_come = callee.to_come;
        let after = callee.policy.after;
        let terms = Arc::new(Terms {
            policy: Policy {
                // The task has the delay, and may be handed back when it is over.
                after: Duration::ZERO,
                ..callee.policy
            },
            budget: callee.budget.clone(),
            called: callee.called.clone(),
            is_detached: callee.is_detached,
        });
        // The deadline of an input of a map begins with its first attempt.
        let limit = callee.policy.deadline.filter(|_| job.index.is_none());
        let start = now.checked_add(after).unwrap_or(now);
        let deadline = limit.and_then(|limit| start.checked_add(limit));
        let resumption = (!after.is_zero()).then(|| Resumption::starting_after(after));
        self.deadlines.extend(deadline.map(|at| Reverse((at, id))));
        if self.deadlines.len() > MIN_CLEANED_DEADLINES + 2 * self.calls.len() {
            // Most of them are of calls that have ended.
            let calls = &self.calls;
            self.deadlines
                .retain(|Reverse((_, call))| *call == id || calls.contains_key(call));
        }
        let call = Call {
            pool,
            registration: callee.registration,
            terms,
            job,
            resumption: resumption.map(Box::new),
            queued: now,
            deadline,
            task: None,
            was_sent: false,
        };
        if self.interest == Interest::Everything {
            let count = call.job.count();
            self.publish(call.event(id, EventKind::Queued), count);
        }
        self.calls.insert(id, call);
        id
    }

    /// Holds the inputs of a caller back, except the one with the given index, or releases them if `held` is `None`.
    pub(crate) fn hold(&mut self, now: Instant, caller: Caller, held: Option<Option<u64>>) {
        self.holds.retain(|(other, _)| *other != caller);
        self.holds.extend(held.map(|except| (caller, except)));
        let pools: Vec<_> = self.pools.keys().cloned().collect();
        for pool in pools {
            self.dispatch(now, &pool);
        }
    }

    /// Sets which events are published.
    pub(crate) fn set_interest(&mut self, interest: Interest) {
        self.interest = interest;
    }

    /// Takes in that the service of the engine has a task.
    pub(crate) fn accept(&mut self, number: u64) {
        if let Some(task) = self.tasks.get_mut(&number) {
            task.is_accepted = true;
            let id = task.id.clone();
            self.ask_for(&id);
            self.leave();
        }
    }

    /// Leaves the calls to their machines that go on without this program, once nothing here waits for them.
    fn leave(&mut self) {
        if !self.is_closed {
            return;
        }
        let tasks = &self.tasks;
        let is_left = |call: &Call| {
            let task = call.task.and_then(|number| tasks.get(&number));
            call.may_be_left() && task.is_some_and(UnderWay::goes_on)
        };
        let left = self.calls.extract_if(.., |_, call| is_left(call));
        for (id, call) in left {
            self.left.push((id, call.registration.spec.name));
        }
    }

    /// Takes in which machines serve a function that none has answered for. Once there has been none for the
    /// `startup_timeout`, its calls fail.
    pub(crate) fn found(&mut self, now: Instant, pool: &PoolKey, hosts: &Hosts) {
        let Some(known) = self.pools.get_mut(pool) else {
            return;
        };
        if hosts.serve {
            known.found_at = Some(now);
        }
        let patience = known.startup_timeout;
        let is_over = |since: Instant| now.saturating_duration_since(since) >= patience;
        // A machine may be replaced, or the engine may have forgotten for a moment which ones there are.
        let found_at = known.found_at.unwrap_or(known.silent_since);
        if known.tasks == 0 || !is_over(found_at.max(known.silent_since)) {
            return;
        }
        let queue = Queue::new(pool.0, self.settings.version);
        let why = Failure::Startup(Startup::NoHost(no_host(&queue, hosts).into()));
        // A task with a delay has not been waiting for a machine all the time.
        let tasks = self.tasks.iter().filter(|(_, task)| is_over(task.due));
        let waiting: BTreeSet<u64> = tasks.map(|(number, _)| *number).collect();
        let waits = |call: &Call| call.task.is_none_or(|number| waiting.contains(&number));
        self.give_up(|call| call.pool == *pool && waits(call), &why);
    }

    /// Cancels a call, or the chunk that it is in.
    pub(crate) fn cancel(&mut self, now: Instant, id: CallNumber) {
        let mut attached = self.attached.values_mut();
        if let Some(attached) = attached.find(|attached| attached.call == id) {
            if !std::mem::replace(&mut attached.is_cancelled, true) {
                self.actions.push_back(Action::Cancel(attached.id.clone()));
            }
            return;
        }
        let found = self.calls.range(..=id).next_back();
        let Some((&first, call)) = found else {
            return;
        };
        if id.0 - first.0 < u64::from(call.job.count()) {
            let pool = call.pool.clone();
            self.withdraw(first);
            self.dispatch(now, &pool);
        }
    }

    /// Cancels the calls whose job satisfies a predicate.
    pub(crate) fn cancel_where(&mut self, now: Instant, is_unwanted: impl Fn(&Job) -> bool) {
        let unwanted = self.calls.iter().filter(|(_, call)| is_unwanted(&call.job));
        let (ids, pools): (Vec<_>, Vec<_>) =
            unwanted.map(|(id, call)| (*id, call.pool.clone())).unzip();
        for id in ids {
            self.withdraw(id);
        }
        for pool in pools {
            self.dispatch(now, &pool);
        }
    }

    /// Cancels a queued call at once, and asks for the end of one that is under way.
    fn withdraw(&mut self, id: CallNumber) {
        match self.calls.get(&id).and_then(|call| call.task) {
            None => self.resolve(id, Err(Failure::Cancelled(Cancelled::ByCaller))),
            number => self.cancel_task(number),
        }
    }

    /// Asks for the end of a task, once.
    fn cancel_task(&mut self, number: Option<u64>) {
        if let Some(task) = number.and_then(|number| self.tasks.get_mut(&number))
            && !std::mem::replace(&mut task.is_cancelled, true)
        {
            self.actions.push_back(Action::Cancel(task.id.clone()));
        }
    }

    /// Begins the shutdown. New calls are rejected; calls that have not been sent are cancelled at once unless
    /// `runs_queued` is set; all others have `grace` to end.
    pub(crate) fn shut_down(&mut self, now: Instant, grace: Duration, runs_queued: bool) {
        self.is_closed = true;
        if !runs_queued {
            self.cancels_queued = true;
            let why = Failure::Cancelled(Cancelled::ByShutdown);
            self.give_up(|call| call.task.is_none(), &why);
        }
        self.leave();
        self.attached.retain(|_, attached| is_wanted(&attached.job));
        let at = now.checked_add(grace);
        self.close_at = self.close_at.into_iter().chain(at).min();
        self.tick(now);
    }

    /// Resolves calls without waiting for their tasks to end.
    fn give_up(&mut self, is_meant: impl Fn(&Call) -> bool, why: &Failure) {
        let meant = self.calls.iter().filter(|(_, call)| is_meant(call));
        let meant: Vec<_> = meant.map(|(id, call)| (*id, call.task)).collect();
        for (id, number) in meant {
            self.resolve(id, Err(why.clone()));
            self.cancel_task(number);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.close_at.take_if(|at| *at <= now).is_some() {
            let why = Failure::Cancelled(Cancelled::ByShutdown);
            for attached in std::mem::take(&mut self.attached).into_values() {
                attached.resolve(&mut self.actions, Err(why.clone()), None);
            }
            let goes_on = |call: &Call| {
                let task = call.task.and_then(|number| self.tasks.get(&number));
                task.is_some_and(|task| task.terms.is_detached && task.goes_on())
            };
            let left = self.calls.iter().filter(|(_, call)| goes_on(call));
            let left: Vec<_> = left
                .map(|(id, call)| (*id, call.registration.spec.name))
                .collect();
            let given_up = self.calls.iter().flat_map(|(id, call)| {
                let name = call.registration.spec.name;
                id.following(call.job.count()).map(move |id| (id, name))
            });
            self.abandoned.extend(given_up);
            for (id, _) in &left {
                self.resolve(*id, Err(why.clone()));
            }
            self.left.extend(left);
            self.give_up(|_| true, &why);
        }
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied()
            && at <= now
        {
            self.deadlines.pop();
            self.expire(at, id);
        }
        let mut due = Vec::new();
        for (key, pool) in &mut self.pools {
            if pool.look_at.is_some_and(|at| at <= now) {
                due.push(key.clone());
            }
            if pool.tasks > 0 && pool.ask_at.is_some_and(|at| at <= now) {
                pool.ask_after(now);
                let queue = Queue::new(key.0, self.settings.version);
                let pool = key.clone();
                self.actions.push_back(Action::FindHosts { pool, queue });
            }
        }
        for pool in due {
            self.dispatch(now, &pool);
        }
    }

    /// Ends a call whose deadline has passed, unless the machine that has it may still say how it ended.
    fn expire(&mut self, at: Instant, id: CallNumber) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let Some(deadline) = call.deadline else {
            return;
        };
        let last = deadline.checked_add(LAST_WORD);
        if call.task.is_some()
            && let Some(last) = last.filter(|last| at < *last)
        {
            self.deadlines.push(Reverse((last, id)));
            return;
        }
        let limit = call.terms.policy.deadline.unwrap_or_default();
        let timed_out = TimedOut::new(Limit::Deadline, limit);
        let last = call.resumption.as_ref().and_then(|one| one.last.clone());
        let waits = if call.task.is_some() {
            Waiting::Attempt
        } else {
            Waiting::Worker
        };
        let why = last.unwrap_or(Failure::TimedOut(timed_out.while_waiting(waits)));
        self.cancel_task(call.task);
        self.resolve(id, Err(why));
    }

    /// Returns when to call [`tick`](Self::tick).
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let pools = self.pools.values();
        let of_pool = |pool: &Pool| {
            let ask_at = pool.ask_at.filter(|_| pool.tasks > 0);
            pool.look_at.into_iter().chain(ask_at).min()
        };
        let deadline = self.deadlines.peek().map(|Reverse((at, _))| *at);
        let others = deadline.into_iter().chain(self.close_at);
        pools.filter_map(of_pool).chain(others).min()
    }

    fn resolve(&mut self, id: CallNumber, result: Result<Payload, Failure>) {
        let call = self.calls.get(&id);
        let behind = call.and_then(|call| call.resumption.as_ref());
        let attempts = behind.map_or_else(Vec::new, |one| one.attempts.clone());
        self.resolve_with(id, result, History::new(attempts, None));
    }

    fn resolve_with(
        &mut self,
        id: CallNumber,
        result: Result<Payload, Failure>,
        history: Option<Box<History>>,
    ) {
        if let Some(call) = self.calls.remove(&id) {
            if !self.attached.is_empty() && call.terms.is_detached {
                self.ask_for(&TaskId::of_call(id.of(self.settings.run)));
            }
            self.publish_end(&call, id, &result, history.as_deref());
            self.end_call(call.pool.0, id, call.job, result, history);
        }
    }

    fn end_call(
        &mut self,
        function: &'static str,
        id: CallNumber,
        job: Job,
        result: Result<Payload, Failure>,
        history: Option<Box<History>>,
    ) {
        let (counts, count) = (
            self.counts.entry(function).or_default(),
            u64::from(job.count()),
        );
        counts.finished += count;
        match &result {
            Ok(_) => {}
            Err(Failure::Cancelled(_)) => counts.cancelled += count,
            Err(_) => counts.failed += count,
        }
        let outcome = Outcome {
            call: id,
            result,
            history,
        };
        self.actions.push_back(Action::Resolve { job, outcome });
    }
}

impl Pool {
    /// Postpones the question whether there are machines.
    fn ask_after(&mut self, now: Instant) {
        let time = (self.startup_timeout / ASKED).max(SHORTEST_PAUSE);
        self.ask_at = now.checked_add(time.min(self.startup_timeout));
    }

    /// Returns the queue of a caller.
    fn line(&mut self, caller: Caller) -> &mut Line {
        let known = self.lines.iter().position(|line| line.caller == caller);
        let place = known.unwrap_or_else(|| {
            self.lines.push_back(Line {
                caller,
                calls: VecDeque::new(),
                to_come: None,
            });
            self.lines.len() - 1
        });
        &mut self.lines[place]
    }
}

fn batch_size(spec: &FunctionSpec) -> u32 {
    let size = spec.batch.map_or(1, |batch| batch.max_size);
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Returns whether something waits for the outcome of a call.
fn is_wanted(job: &Job) -> bool {
    Arc::strong_count(&job.target) > 1
}

impl UnderWay {
    /// Returns whether the task goes on after this program has ended.
    fn goes_on(&self) -> bool {
        self.is_accepted && !self.is_cancelled
    }
}

impl Call {
    /// Returns whether the end of the program need not wait for the call, once an engine has it.
    fn may_be_left(&self) -> bool {
        self.terms.is_detached && !is_wanted(&self.job)
    }
}

/// Returns why no machine gets the calls of a queue, and what to do.
fn no_host(queue: &Queue, hosts: &Hosts) -> String {
    let brief = |queue: &Queue| {
        let version = format!("{:016x}", queue.version());
        format!("{}@{}", short_name(queue.function()), &version[..4])
    };
    let mut text = format!(
        "no host serves {}; start one with RETRY_SERVE=all",
        brief(queue)
    );
    if !hosts.others.is_empty() {
        let others: Vec<String> = hosts.others.iter().map(brief).collect();
        text += &format!(" (hosts serve {}, another build)", others.join(", "));
    }
    text
}
