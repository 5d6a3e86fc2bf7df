//! Decides which calls travel together, and what their tasks' ends mean for them.
//!
//! A pure state machine, as the scheduler is: events come in as method calls with the current time, and decisions
//! go out as [`Action`]s. It knows an engine by its tasks only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::sizing::Sizing;
use crate::api::call_id::{CallId, CallNumber};
use crate::api::context::{Attempt, short_name};
use crate::api::engine::{Hosts, Queue, Task, TaskEnd, TaskId};
use crate::api::events::{CallOutcome, Event, EventKind, FailureDetails, Interest, Record};
use crate::api::failure::{Cancelled, Limit, Lost, Rejected, Startup, TimedOut, Waiting};
use crate::api::options::Policy;
use crate::api::run::{self, RunId};
use crate::api::spec::FunctionSpec;
use crate::codec::payload::Payload;
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::function::service_config::ServiceConfig;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::caller::Caller;
use crate::job::outcome::{Failure, History, Outcome};
use crate::job::parts::Parts;
use crate::job::resumption::Resumption;
use crate::scheduler::{Counts, FunctionReading, Numbers};
use crate::wire::message::{Calls, Item};
use crate::wire::task::{self, Allowance, Answer, Body};

/// The time for which a task waits to become full.
const FILL_TIME: Duration = Duration::from_millis(5);

/// The number of bytes of inputs of a task.
const TASK_BYTES: usize = 1024 * 1024;

/// The number of bytes that there should be for each input in the largest body and the largest answer, whatever
/// its size.
const INPUT_BYTES: usize = 256;

/// The time after a deadline within which the machine that has a call may still say how it ended.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The number of deadlines from which on those of calls that have ended are removed.
const MANY: usize = 1024;

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
    called: Option<&'static Location<'static>>,
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

/// A task that another program has submitted, or this one before, and whose end a call of this program waits for.
struct Attached {
    /// The id of the task, and the number of its call in the run that has made it.
    id: TaskId,
    original: CallNumber,
    /// The number by which the call is known here.
    call: CallNumber,
    registration: &'static Registration,
    job: Job,
    is_cancelled: bool,
    /// Set once the engine was asked for the end of the task.
    is_asked: bool,
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
            startup_timeout: self
                .settings
                .startup_timeout
                .unwrap_or(spec.startup_timeout),
            has_answered: false,
            look_at: None,
        });
        known.line(job.caller).push_back(id);
        let after = callee.policy.after;
        let terms = Arc::new(Terms {
            policy: Policy {
                // The task has the delay, and may be handed back when it is over.
                after: Duration::ZERO,
                ..callee.policy
            },
            budget: callee.budget.clone(),
            called: callee.called,
            is_detached: callee.is_detached,
        });
        // The deadline of an input of a map begins with its first attempt.
        let limit = callee.policy.deadline.filter(|_| job.index.is_none());
        let start = now.checked_add(after).unwrap_or(now);
        let deadline = limit.and_then(|limit| start.checked_add(limit));
        let resumption = (!after.is_zero()).then(|| Resumption::starting_after(after));
        self.deadlines.extend(deadline.map(|at| Reverse((at, id))));
        if self.deadlines.len() > MANY + 2 * self.calls.len() {
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

    fn publish(&mut self, event: Event, count: u32) {
        let record = Record { event, count };
        self.actions.push_back(Action::Publish(Box::new(record)));
    }

    /// Counts and publishes the attempts of a call that were not known here yet. `next` is the delay before the attempt
    /// that follows the last one, if there is one.
    fn publish_attempts(
        &mut self,
        call: &Call,
        id: CallNumber,
        attempts: &[Attempt],
        next: Option<Duration>,
    ) {
        let known = call.resumption.as_ref().and_then(|one| one.attempts.last());
        let known = known.map_or(0, |last| last.number);
        let new = attempts.iter().filter(|attempt| attempt.number > known);
        let mut new = new.peekable();
        while let Some(attempt) = new.next() {
            let next = match new.peek() {
                Some(_) => Some(Duration::ZERO),
                None => next,
            };
            if next.is_some() {
                self.counts.entry(call.pool.0).or_default().retried += 1;
            }
            if self.interest == Interest::Nothing {
                continue;
            }
            let kind = EventKind::AttemptFailed {
                outcome: attempt.outcome.clone(),
                error: attempt.error.clone(),
                ran: attempt.duration,
            };
            self.publish(call.event_of(id, attempt, kind), 1);
            if let Some(delay) = next {
                let max_attempts = call.terms.policy.retries.max_retries().saturating_add(1);
                let kind = EventKind::Retrying {
                    delay,
                    max_attempts,
                };
                self.publish(call.event(id, kind), 1);
            }
        }
    }

    /// Publishes the end of a call, or of the calls of a chunk.
    fn publish_end(
        &mut self,
        call: &Call,
        id: CallNumber,
        result: &Result<Payload, Failure>,
        history: Option<&History>,
    ) {
        let attempts = history.map_or(&[][..], |history| &history.attempts);
        self.publish_attempts(call, id, attempts, result.is_ok().then_some(Duration::ZERO));
        let wanted = match (result, attempts) {
            (Ok(_), []) => Interest::Everything,
            _ => Interest::Failures,
        };
        if self.interest < wanted {
            return;
        }
        let last = attempts.last();
        let (outcome, reason, details) = match result {
            Ok(_) => (CallOutcome::Succeeded, None, None),
            Err(failure) => {
                let (outcome, reason) = failure.describe(last);
                let tail = history.and_then(|history| history.stderr_tail.as_deref());
                let details = FailureDetails {
                    input: call.show_input(),
                    called: call.terms.called.map(|line| line.to_string().into()),
                    stderr_tail: tail.map(Into::into),
                };
                (outcome, Some(reason.into()), Some(Box::new(details)))
            }
        };
        let kind = EventKind::Finished {
            outcome,
            reason,
            ran: None,
            ran_of: 0,
            details,
        };
        let mut event = match last {
            Some(last) => call.event_of(id, last, kind),
            None => call.event(id, kind),
        };
        if result.is_ok() {
            // The attempts in the history are those that have failed.
            event.worker_pid = None;
            event.attempt = last.map(|last| last.number + 1);
        }
        self.publish(event, call.job.count());
    }

    /// Returns how many inputs a task of a function has at present, and how many tasks may be under way.
    pub(crate) fn ahead(&self, pool: &PoolKey) -> (usize, usize) {
        let known = self.pools.get(pool);
        known.map_or((1, 1), |pool| {
            (
                pool.sizing.inputs() as usize,
                pool.sizing.tasks(Duration::ZERO),
            )
        })
    }

    /// Sends what is queued for a function, as far as it should be sent now.
    pub(crate) fn dispatch(&mut self, now: Instant, pool: &PoolKey) {
        while let Some(most) = self.next_size(now, pool) {
            self.send(now, pool, most);
        }
        if let Some(known) = self.pools.get(pool)
            && known.lines.is_empty()
            && known.tasks == 0
            && pool.1.is_some()
        {
            // There may be any number of configurations.
            self.pools.remove(pool);
        }
    }

    /// Chooses the caller that is next, and returns how many inputs its task has; `None` if none is to be sent now.
    fn next_size(&mut self, now: Instant, pool: &PoolKey) -> Option<u32> {
        let most_inputs = self.settings.most_inputs();
        let (calls, holds) = (&self.calls, &self.holds);
        let pool = self.pools.get_mut(pool)?;
        let is_queued = |id: &CallNumber| calls.get(id).is_some_and(|call| call.task.is_none());
        for line in &mut pool.lines {
            while line.calls.pop_front_if(|id| !is_queued(id)).is_some() {}
        }
        pool.lines.retain(|line| !line.calls.is_empty());
        pool.look_at = None;
        if pool.lines.is_empty() {
            return None;
        }
        let silent = now.saturating_duration_since(pool.silent_since);
        let busy = pool.tasks - pool.delayed;
        if busy >= pool.sizing.tasks(silent) {
            pool.look_at = pool.silent_since.checked_add(Sizing::more_after(silent));
            return None;
        }
        let inputs = pool.sizing.inputs().min(most_inputs);
        for turn in 0..pool.lines.len() {
            let line = &mut pool.lines[turn];
            let held = holds.iter().find(|(caller, _)| *caller == line.caller);
            let most = match held {
                None => line.most(calls, inputs),
                Some((_, except)) if line.bring_forward(calls, *except) => Some(1),
                Some(_) => continue,
            };
            let most = match most {
                Some(most) => most,
                None => {
                    let full_at = calls[&line.calls[0]].queued + FILL_TIME;
                    if busy > 0 && now < full_at {
                        let look_at = pool.look_at.into_iter().chain([full_at]).min();
                        pool.look_at = look_at;
                        continue;
                    }
                    inputs
                }
            };
            pool.lines.rotate_left(turn);
            return Some(most);
        }
        None
    }

    fn send(&mut self, now: Instant, key: &PoolKey, most: u32) {
        let Some(pool) = self.pools.get_mut(key) else {
            return;
        };
        let config = key.1.as_ref().map_or(0, |config| config.len());
        let most_bytes = TASK_BYTES.min((self.settings.max_body / 2).saturating_sub(config));
        let number = self.numbers.take_task();
        let (mut items, mut payload, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut position = 0;
        let mut delay = Duration::ZERO;
        let mut first: Option<(&'static Registration, Arc<Terms>)> = None;
        let mut deadline = None;
        let mut of_call = None;
        let Some(mut line) = pool.lines.pop_front() else {
            return;
        };
        while position < most
            && let Some(id) = line.calls.front().copied()
        {
            let Some(call) = self.calls.get(&id).filter(|call| call.task.is_none()) else {
                line.calls.pop_front();
                continue;
            };
            if let Some((begun, _)) = calls.first()
                && !call.joins(&self.calls[begun])
            {
                break;
            }
            let room = most_bytes.saturating_sub(payload.len());
            let fits = call.inputs_within(room);
            if fits == 0 && position > 0 {
                break;
            }
            let take = call.job.count().min(most - position).min(fits.max(1));
            line.calls.pop_front();
            if take < call.job.count() {
                let rest = split(&mut self.calls, id, take);
                line.calls.push_front(rest);
            }
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            call.task = Some(number);
            let is_first = !std::mem::replace(&mut call.was_sent, true);
            of_call = (call.terms.is_detached && is_first).then_some(id);
            let resumption = call.resumption(now);
            delay = resumption.as_ref().map_or(delay, |one| one.delay);
            deadline = call.deadline;
            let input = &call.job.input;
            items.push(Item::put(
                position,
                call.job.index,
                input,
                resumption,
                &mut payload,
            ));
            first.get_or_insert((call.registration, Arc::clone(&call.terms)));
            calls.push((id, take));
            position += take;
        }
        if !line.calls.is_empty() {
            pool.lines.push_back(line);
        }
        let Some((registration, terms)) = first else {
            return;
        };
        let lent = terms
            .budget
            .as_ref()
            .map_or(0, |budget| budget.lend(position));
        let body = Body {
            calls: Calls {
                function: registration.spec.name.to_owned(),
                config: key.1.as_deref().map(<[u8]>::to_vec),
                policy: terms.policy,
                items,
            },
            allowance: terms.budget.as_ref().map(|budget| Allowance {
                ratio: budget.ratio(),
                retries: lent,
            }),
            host_timeout: self.settings.host_timeout,
            max_body: self.settings.max_body as u64,
        };
        if pool.tasks == 0 {
            pool.silent_since = now;
            pool.ask_at = now.checked_add(pool.startup_timeout);
        }
        pool.tasks += 1;
        pool.delayed += usize::from(!delay.is_zero());
        let id = match of_call {
            // A program that has the id of the call finds the task by it.
            Some(call) => TaskId::of_call(call.of(self.settings.run)),
            None => TaskId::new(&format!("{}/t{number}", self.settings.run)),
        };
        let label = self.calls[&calls[0].0].label(position);
        let queue = Queue::new(key.0, self.settings.version);
        let body = task::encode(&body, &payload);
        let left = deadline.map(|at| at.saturating_duration_since(now));
        let mut task = Task::new(id.clone(), queue, body, self.settings.host_timeout);
        task.label = label;
        task.delay = delay;
        task.detached = terms.is_detached;
        let slack = LAST_WORD.saturating_add(self.settings.host_timeout);
        task.deadline = left.map(|left| left.saturating_add(slack));
        let under_way = UnderWay {
            pool: key.clone(),
            id,
            calls,
            terms,
            lent,
            delay,
            due: now.checked_add(delay).unwrap_or(now),
            is_cancelled: false,
            is_accepted: false,
        };
        self.tasks.insert(number, under_way);
        self.actions.push_back(Action::Submit { number, task });
    }

    /// Begins to wait for the end of a call that was spawned before, here or in another program.
    pub(crate) fn attach(
        &mut self,
        registration: &'static Registration,
        original: CallId,
        job: Job,
    ) -> CallNumber {
        let (number, call) = (self.numbers.take_task(), self.numbers.take_calls(1));
        let id = TaskId::of_call(original);
        let attached = Attached {
            id: id.clone(),
            original: original.number,
            call,
            registration,
            job,
            is_cancelled: false,
            is_asked: false,
        };
        if self.is_closed {
            attached.resolve(
                &mut self.actions,
                Err(Failure::Rejected(Rejected::ShutDown)),
                None,
            );
            return call;
        }
        self.attached.insert(number, attached);
        // The engine does not know a task that has just been made here.
        let own = self.calls.get(&original.number);
        let own = own.filter(|_| original.run() == self.settings.run);
        let task = own.map(|call| call.task.and_then(|number| self.tasks.get(&number)));
        if task.is_none_or(|task| task.is_some_and(|task| task.is_accepted)) {
            self.ask_for(&id);
        }
        call
    }

    /// Asks the engine for the end of a task to which calls of this program are attached.
    fn ask_for(&mut self, id: &TaskId) {
        for (number, attached) in &mut self.attached {
            if attached.id == *id && !std::mem::replace(&mut attached.is_asked, true) {
                let (number, id) = (*number, id.clone());
                self.actions.push_back(Action::Attach { number, id });
            }
        }
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

    /// Takes in the end of a task.
    pub(crate) fn end(&mut self, now: Instant, number: u64, end: TaskEnd) {
        if let Some(attached) = self.attached.remove(&number) {
            return attached.end(&mut self.actions, end);
        }
        let Some(task) = self.tasks.remove(&number) else {
            return;
        };
        let sent = task.calls.iter().map(|(_, count)| count).sum();
        if let Some(pool) = self.pools.get_mut(&task.pool) {
            pool.tasks -= 1;
            pool.delayed -= usize::from(!task.delay.is_zero());
        }
        let (mut is_lent, mut calls) = (true, VecDeque::from(task.calls));
        let mut again = Vec::new();
        let failure = match end {
            TaskEnd::Answered(bytes) => {
                let answer = task::decode::<Answer>(bytes);
                let taken = answer.and_then(|(answer, mut payload)| {
                    if let Some(budget) = &task.terms.budget {
                        // The numbers are not trusted, and their sums must not overflow.
                        let count = |count: u64| count.min(u32::MAX.into());
                        let facts = &answer.facts;
                        is_lent = false;
                        budget.take_back(task.lent, count(facts.attempts), count(facts.retries));
                    }
                    if let Some(pool) = self.pools.get_mut(&task.pool) {
                        let is_limited = !pool.lines.is_empty();
                        pool.sizing
                            .learn(sent, task.delay, &answer.facts, is_limited);
                        if answer.facts.overflows {
                            pool.sizing.halve(sent);
                        }
                        pool.has_answered = true;
                        pool.silent_since = now;
                        pool.ask_at = now.checked_add(pool.startup_timeout);
                    }
                    let cancelled = task.is_cancelled;
                    self.take(
                        sent,
                        cancelled,
                        answer,
                        &mut payload,
                        &mut calls,
                        &mut again,
                    )
                });
                let reason = taken
                    .err()
                    .unwrap_or_else(|| "an answer without all calls".to_owned());
                Failure::Lost(Lost::Protocol {
                    reason: reason.into(),
                })
            }
            TaskEnd::Cancelled => Failure::Cancelled(Cancelled::ByCaller),
            TaskEnd::TimedOut => {
                let limit = task.terms.policy.deadline.unwrap_or_default();
                Failure::TimedOut(TimedOut::new(Limit::Deadline, limit))
            }
            TaskEnd::Expired => Failure::Lost(Lost::Expired),
            TaskEnd::Refused(reason) => Failure::Rejected(Rejected::Engine(reason.into())),
        };
        if is_lent && let Some(budget) = &task.terms.budget {
            budget.take_back(task.lent, 0, 0);
        }
        // New calls go to the front, so that the first one comes last.
        let (new, begun): (Vec<_>, Vec<_>) = again.into_iter().partition(|(_, one)| one.is_new());
        for (id, resumption) in new.into_iter().rev().chain(begun) {
            self.put_back(now, id, resumption);
        }
        // Calls that the answer does not mention have no other end.
        for (id, _) in calls {
            self.resolve(id, Err(failure.clone()));
        }
        self.dispatch(now, &task.pool);
    }

    /// Takes in the replies of an answer, and takes the calls that they are about out of `calls`. Those that were handed
    /// back are added to `again`.
    fn take(
        &mut self,
        sent: u32,
        is_cancelled: bool,
        answer: Answer,
        payload: &mut Bytes,
        calls: &mut VecDeque<(CallNumber, u32)>,
        again: &mut Vec<(CallNumber, Box<Resumption>)>,
    ) -> Result<(), String> {
        if let Some(problem) = answer.problem {
            return Err(problem);
        }
        let mut position = 0;
        for reply in answer.replies {
            let (number, mut count) = (reply.number, reply.count);
            if number != position || count > sent - position {
                return Err("replies to other calls than those of the task".to_owned());
            }
            position += count;
            let mut outcome = reply.take(payload)?;
            while count > 0
                && let Some((id, here)) = calls.pop_front()
            {
                let part = here.min(count);
                count -= part;
                if part < here {
                    if self.calls.contains_key(&id) {
                        split(&mut self.calls, id, part);
                    }
                    calls.push_front((CallNumber(id.0 + u64::from(part)), here - part));
                }
                let result = match &mut outcome.result {
                    Ok(values) if count > 0 => Ok(values.split_front(part)),
                    Ok(values) => Ok(std::mem::replace(values, Payload::NONE)),
                    Err(failure) => Err(failure.clone()),
                };
                match result {
                    Err(Failure::HandedBack(_)) if is_cancelled => {
                        self.resolve(id, Err(Failure::Cancelled(Cancelled::ByCaller)));
                    }
                    Err(Failure::HandedBack(resumption)) if !resumption.is_possible() => {
                        calls.push_front((id, part));
                        return Err("impossible numbers of attempts".to_owned());
                    }
                    Err(Failure::HandedBack(resumption)) => again.push((id, resumption)),
                    result => {
                        let history = outcome.history.take();
                        self.resolve_with(id, result, history);
                    }
                }
            }
        }
        Ok(())
    }

    /// Queues a call that a machine has handed back.
    fn put_back(&mut self, now: Instant, id: CallNumber, resumption: Box<Resumption>) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        self.publish_attempts(&call, id, &resumption.attempts, Some(resumption.delay));
        call.task = None;
        call.queued = now;
        if let Some(pool) = self.pools.get_mut(&call.pool) {
            let line = pool.line(call.job.caller);
            match resumption.is_new() {
                true => line.push_front(id),
                false => line.push_back(id),
            }
        }
        if resumption.is_new() {
            // A delay of its start is over.
            call.resumption = None;
        } else {
            if call.deadline.is_none()
                && let Some(at) = resumption.left.and_then(|left| now.checked_add(left))
            {
                call.deadline = Some(at);
                self.deadlines.push(Reverse((at, id)));
            }
            call.resumption = Some(resumption);
        }
        self.calls.insert(id, call);
        if self.cancels_queued {
            self.resolve(id, Err(Failure::Cancelled(Cancelled::ByShutdown)));
        }
    }

    /// Takes in which machines serve a function that none has answered for.
    pub(crate) fn found(&mut self, now: Instant, pool: &PoolKey, hosts: &Hosts) {
        let Some(known) = self.pools.get_mut(pool) else {
            return;
        };
        let patience = known.startup_timeout;
        let is_over = |since: Instant| now.saturating_duration_since(since) >= patience;
        if hosts.serve || known.tasks == 0 || !is_over(known.silent_since) {
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
                pool.ask_at = now.checked_add(pool.startup_timeout);
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
    /// Returns the queue of a caller.
    fn line(&mut self, caller: Caller) -> &mut VecDeque<CallNumber> {
        let known = self.lines.iter().position(|line| line.caller == caller);
        let place = known.unwrap_or_else(|| {
            let calls = VecDeque::new();
            self.lines.push_back(Line { caller, calls });
            self.lines.len() - 1
        });
        &mut self.lines[place].calls
    }
}

impl Line {
    /// Returns how many inputs a task has that is full; `None` if it could have more of them.
    fn most(&self, calls: &BTreeMap<CallNumber, Call>, inputs: u32) -> Option<u32> {
        let first = &calls[&self.calls[0]];
        if first.travels_alone() {
            return Some(1);
        }
        let mut count = 0;
        let queued = self.calls.iter().filter_map(|id| calls.get(id));
        for call in queued.take_while(|call| call.joins(first)) {
            count += call.job.count();
            if count >= inputs {
                return Some(inputs);
            }
        }
        None
    }

    /// Moves the input with this index to the front. Returns false if it is not there.
    fn bring_forward(&mut self, calls: &BTreeMap<CallNumber, Call>, index: Option<u64>) -> bool {
        // Inputs of a chunk are in their order, and the consumer waits for the first of those that are queued.
        let is_it = |id: &CallNumber| {
            let call = calls.get(id).filter(|call| call.task.is_none());
            index.is_some() && call.is_some_and(|call| call.job.index == index)
        };
        let Some(place) = self.calls.iter().position(is_it) else {
            return false;
        };
        if let Some(id) = self.calls.remove(place) {
            self.calls.push_front(id);
        }
        true
    }
}

fn batch_size(spec: &FunctionSpec) -> u32 {
    let size = spec.batch.map_or(1, |batch| batch.max_size);
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Splits a chunk after some calls, and returns the number of the first call of the rest.
fn split(calls: &mut BTreeMap<CallNumber, Call>, id: CallNumber, count: u32) -> CallNumber {
    let rest = CallNumber(id.0 + u64::from(count));
    if let Some(call) = calls.get_mut(&id) {
        let front = call.job.split_front(count);
        let back = Call {
            pool: call.pool.clone(),
            registration: call.registration,
            terms: Arc::clone(&call.terms),
            job: std::mem::replace(&mut call.job, front),
            resumption: None,
            queued: call.queued,
            deadline: call.deadline,
            task: call.task,
            was_sent: call.was_sent,
        };
        calls.insert(rest, back);
    }
    rest
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

impl Attached {
    fn end(self, actions: &mut VecDeque<Action>, end: TaskEnd) {
        let outcome = match end {
            TaskEnd::Answered(bytes) => self.outcome(bytes),
            TaskEnd::Cancelled => Err(Failure::Cancelled(Cancelled::ByCaller)),
            TaskEnd::TimedOut => {
                // The call may have had another one.
                let limit = self.registration.spec.deadline.unwrap_or_default();
                Err(Failure::TimedOut(TimedOut::new(Limit::Deadline, limit)))
            }
            TaskEnd::Expired => Err(Failure::Lost(Lost::Expired)),
            TaskEnd::Refused(reason) => Err(Failure::Rejected(Rejected::Engine(reason.into()))),
        };
        let (result, history) = match outcome {
            Ok(outcome) => (outcome.result, outcome.history),
            Err(failure) => (Err(failure), None),
        };
        self.resolve(actions, result, history);
    }

    /// Reads the outcome of the call from the answer to its task.
    fn outcome(&self, bytes: Vec<u8>) -> Result<Outcome, Failure> {
        let protocol = |reason: String| {
            Failure::Lost(Lost::Protocol {
                reason: reason.into(),
            })
        };
        let (answer, mut payload) = task::decode::<Answer>(bytes).map_err(protocol)?;
        if let Some(problem) = answer.problem {
            return Err(protocol(problem));
        }
        let own = self.registration.spec.name;
        if answer.function != own {
            let (its, own) = (short_name(&answer.function), short_name(own));
            let reason = format!("{} is a call of `{its}`, not of `{own}`", self.id);
            return Err(Failure::Rejected(Rejected::Engine(reason.into())));
        }
        let mut replies = answer.replies.into_iter();
        match (replies.next(), replies.next()) {
            (Some(reply), None) if (reply.number, reply.count) == (0, 1) => {
                let outcome = reply.take(&mut payload).map_err(protocol)?;
                match &outcome.result {
                    Err(Failure::HandedBack(_)) => Err(Failure::Lost(Lost::handed_back())),
                    _ => Ok(outcome),
                }
            }
            _ => Err(protocol("an answer to other calls".to_owned())),
        }
    }

    fn resolve(
        self,
        actions: &mut VecDeque<Action>,
        result: Result<Payload, Failure>,
        history: Option<Box<History>>,
    ) {
        let outcome = Outcome {
            call: self.original,
            result,
            history,
        };
        let job = self.job;
        actions.push_back(Action::Resolve { job, outcome });
    }
}

impl Call {
    /// Returns whether the end of the program need not wait for the call, once an engine has it.
    fn may_be_left(&self) -> bool {
        self.terms.is_detached && !is_wanted(&self.job)
    }

    /// Returns whether the call has a task of its own: a machine may hand it back with a delay or lose it, without
    /// consequences for others.
    fn travels_alone(&self) -> bool {
        self.job.index.is_none() || self.terms.policy.at_most_once || self.resumption.is_some()
    }

    /// Returns whether the call may be in a task that begins with another one.
    fn joins(&self, first: &Self) -> bool {
        let budget = |one: &Self| one.terms.budget.as_ref().map(Arc::as_ptr);
        self.job.caller == first.job.caller
            && self.registration.spec.name == first.registration.spec.name
            && self.terms.policy == first.terms.policy
            && budget(self) == budget(first)
            && !self.travels_alone()
    }

    /// Returns how many of the inputs have no more bytes than these, if they are of similar size.
    fn inputs_within(&self, bytes: usize) -> u32 {
        let (count, size) = (self.job.count(), self.job.input.bytes().len());
        match size <= bytes {
            true => count,
            false => {
                let fit = u64::from(count) * bytes as u64 / size as u64;
                u32::try_from(fit).unwrap_or(count).min(count)
            }
        }
    }

    /// Returns the state in which the call is sent, if there is any.
    fn resumption(&self, now: Instant) -> Option<Box<Resumption>> {
        let mut resumption = self.resumption.clone();
        if let Some(resumption) = &mut resumption {
            resumption.pass(now.saturating_duration_since(self.queued));
        }
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(now);
            resumption.get_or_insert_default().left = Some(left);
        }
        resumption
    }

    fn event(&self, id: CallNumber, kind: EventKind) -> Event {
        let mut event = Event::new(self.registration.spec.name, kind);
        event.call = Some(id.of(event.run));
        event.input_index = self.job.index;
        event
    }

    /// Returns an event of an attempt that was made on another machine.
    fn event_of(&self, id: CallNumber, attempt: &Attempt, kind: EventKind) -> Event {
        let mut event = self.event(id, kind);
        event.attempt = Some(attempt.number);
        event.worker_pid = attempt.worker_pid;
        event.host = run::host_named(&attempt.host);
        event
    }

    /// Returns the arguments as text.
    fn show_input(&self) -> Option<Box<str>> {
        let show = self.registration.show?;
        self.job.show(show).map(Into::into)
    }

    fn label(&self, count: u32) -> String {
        let name = short_name(self.registration.spec.name);
        match self.job.index {
            None => name.to_owned(),
            Some(index) if count == 1 => format!("{name}[{index}]"),
            Some(index) => format!("{name}[{index}..{}]", index + u64::from(count)),
        }
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
