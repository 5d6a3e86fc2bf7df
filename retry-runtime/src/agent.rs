//! The host's half of an engine: runs the tasks that other programs have submitted, in the pool of this process.

pub(crate) mod execution;
pub(crate) mod scheme;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, mem};

use crate::api::context::short_name;
use crate::api::engine::{Delivery, Queue, Verdict};
use crate::api::failure::{Cancelled, Lost};
use crate::api::run;
use crate::fleet;
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::caller::Caller;
use crate::job::delivery::{Deliver, Outcomes, wake};
use crate::job::outcome::{Failure, Outcome, failed, rejected};
use crate::local::LocalEngine;
use crate::shared::Objects;
use crate::spans;
use crate::sys;
use crate::wait::block::{self, Wait};
use crate::wire::message::Calls;
use crate::wire::task::{self, Answer, Facts};
use execution::{HostFacts, LocalCall, Opened, TaskPhase};

/// The longest delay of a retry that is waited for on the machine that has the call.
const LONGEST_WAIT_HERE: Duration = Duration::from_secs(1);

/// The part of a program that runs tasks, for a crate that connects an [`Engine`](crate::engine::Engine).
///
/// [`Scheme::new`](crate::engine::Scheme::new) takes a function that gets it: it takes tasks from the
/// [queues](Self::queues) as long as there is [room](Self::free) for them, and ends once the agent
/// [is drained](Self::is_drained). Clones are the same agent.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    engine: Arc<LocalEngine>,
    /// The name by which other machines know this one.
    name: String,
    version: u64,
    /// The functions and services that are served.
    served: BTreeMap<&'static str, Served>,
    /// Prints a message for the user.
    say: fn(&str),
    state: Mutex<State>,
    /// Tells the thread that waits for timers that there are others.
    changed: Condvar,
}

/// A function or service that is served.
#[derive(Clone)]
struct Served {
    /// The number of inputs that it executes at once.
    slots: u32,
    /// The number of inputs that it has executed, of all tasks.
    executed: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    executions: Vec<Arc<Running>>,
    is_draining: bool,
    /// The time at which tasks that have begun are handed back.
    hand_back_at: Option<Instant>,
    wakers: Vec<Waker>,
}

/// A task that this machine has, as [`Agent::run`] returns it.
///
/// It begins once the engine has acknowledged its [ledger](Self::ledger). Dropping it cancels it.
#[must_use = "dropping it cancels the task"]
pub struct Execution(Arc<Running>);

struct Running {
    agent: Weak<Inner>,
    /// The name of the function or service.
    pool: &'static str,
    served: Served,
    callee: Callee,
    caller: Caller,
    state: Mutex<RunningState>,
}

struct RunningState {
    execution: Box<execution::Execution>,
    /// Calls that are not given to the local engine yet, because the task has to run alone, or another one does.
    waiting: Vec<LocalCall>,
    /// The indices of the first inputs of chunks, by their positions in the task.
    indices: BTreeMap<u32, u64>,
    verdict: Option<Verdict>,
    wakers: Vec<Waker>,
    /// For how long the machine had been suspended when the ledger was asked for.
    suspended: Duration,
    /// Set if that ledger does not allow the task to begin.
    is_earlier: bool,
    /// The value of [`Served::executed`] when the task began.
    executed_before: u64,
}

/// The future of a task's [verdict](Execution::verdict).
#[must_use = "futures do nothing unless they are awaited"]
pub struct Decided<'a>(&'a Running);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a waker, once: a task that also waits for something else polls often.
fn keep(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|kept| kept.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

impl Agent {
    /// Creates the agent of some functions, which run in the pool of `engine`. Workers that the pool has before are not
    /// kept from outliving their [lease](Execution::acknowledged).
    ///
    /// # Errors
    ///
    /// If the program's file cannot be read, or the operating system has no thread left.
    pub(crate) fn start(
        engine: Arc<LocalEngine>,
        functions: impl IntoIterator<Item = &'static Registration>,
        say: fn(&str),
    ) -> io::Result<Self> {
        let served = |one: &'static Registration| {
            let workers = engine.max_workers(one.pool());
            let slots = workers.saturating_mul(one.pool().at_once());
            let served = Served {
                slots: u32::try_from(slots).unwrap_or(u32::MAX),
                executed: Arc::default(),
            };
            (one.pool().name, served)
        };
        let served = functions.into_iter().map(served).collect();
        let inner = Arc::new(Inner {
            name: format!("{}@{}", std::process::id(), run::host()),
            version: fleet::version(engine.config())?,
            served,
            engine,
            say,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let agent = Arc::downgrade(&inner);
        inner.engine.lend(move || {
            if let Some(agent) = agent.upgrade() {
                agent.tick();
            }
        })?;
        let timers = Arc::downgrade(&inner);
        thread::Builder::new()
            .name("retry-agent".to_owned())
            .spawn(move || run_timers(&timers))?;
        Ok(Self(inner))
    }

    /// Returns the name under which the ledgers of tasks and the errors of their callers have this machine: the id of
    /// the process and the name of the machine, such as `4711@host-a`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the queues that the agent serves, one for each function and service.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        let names = self.0.served.keys();
        names.map(|name| Queue::new(name, self.0.version)).collect()
    }

    /// Describes the functions with the numbers of inputs that they execute at once, for people.
    pub(crate) fn describe(&self) -> String {
        let slots = |slots: u32| match slots {
            1 => "1 slot".to_owned(),
            slots => format!("{slots} slots"),
        };
        let served = &self.0.served;
        let all: Vec<u32> = served.values().map(|one| one.slots).collect();
        match &all[..] {
            [first, others @ ..] if others.iter().all(|one| one == first) => {
                let names: Vec<_> = served.keys().map(|name| short_name(name)).collect();
                format!("{} ({} each)", names.join(", "), slots(*first))
            }
            _ => {
                let name = |(name, one): (&&str, &Served)| {
                    format!("{} ({})", short_name(name), slots(one.slots))
                };
                served.iter().map(name).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// Returns how many tasks of a queue there is room for. An agent should ask the engine for tasks only as long as
    /// this is not zero: a task that waits here cannot be run elsewhere.
    ///
    /// A task of several inputs takes all workers of its function. One more task may wait, so that workers need not
    /// wait for the engine.
    ///
    /// A task that was lost with two machines runs alone, since it may be the cause: there is no room beside it.
    #[must_use]
    pub fn free(&self, queue: &Queue) -> usize {
        let Some(Served { slots, .. }) = self.0.served.get(queue.function()) else {
            return 0;
        };
        let state = lock(&self.0.state);
        if state.is_draining || state.executions.iter().any(|one| one.is_alone()) {
            return 0;
        }
        let of_queue = state
            .executions
            .iter()
            .filter(|one| one.pool == queue.function());
        let taken = of_queue.map(|one| lock(&one.state).execution.unfinished().min(*slots));
        let room = slots.saturating_add(1).saturating_sub(taken.sum());
        room as usize
    }

    /// Takes a task. Nothing of it runs before its ledger is [acknowledged](Execution::acknowledged).
    ///
    /// # Errors
    ///
    /// Returns the verdict to report for a task that does not run here: it was lost on too many machines, or this
    /// program cannot run it.
    pub fn run(&self, delivery: Delivery) -> Result<Execution, Verdict> {
        let agent = &self.0;
        let opened = execution::open(now(), &agent.name, delivery);
        let refuse = |problem: String| {
            (agent.say)(&format!("refused a task: {problem}"));
            let answer = Answer {
                function: String::new(),
                replies: Vec::new(),
                facts: Facts::default(),
                problem: Some(problem),
            };
            Verdict::Answer(task::encode(&answer, &[]))
        };
        let (calls, allowance, execution): (Calls, _, _) = match opened {
            Err(problem) => return Err(refuse(problem)),
            Ok(Opened::End(verdict)) => return Err(verdict),
            Ok(Opened::Run {
                calls,
                allowance,
                execution,
            }) => (calls, allowance, execution),
        };
        let budget = allowance.map(|given| Arc::new(Budget::lent(given.ratio, given.retries)));
        let (mut callee, _) = Callee::received(calls, budget).map_err(refuse)?;
        callee.longest_delay = Some(LONGEST_WAIT_HERE);
        let pool = callee.registration.pool().name;
        let Some(served) = agent.served.get(pool) else {
            return Err(refuse(format!("`{pool}` is not served here")));
        };
        let running = Arc::new(Running {
            agent: Arc::downgrade(agent),
            pool,
            served: served.clone(),
            callee,
            caller: Caller::new(),
            state: Mutex::new(RunningState {
                execution,
                waiting: Vec::new(),
                indices: BTreeMap::new(),
                verdict: None,
                wakers: Vec::new(),
                suspended: sys::suspended(),
                is_earlier: false,
                executed_before: 0,
            }),
        });
        let mut state = lock(&agent.state);
        state.executions.push(Arc::clone(&running));
        let is_draining = state.is_draining;
        drop(state);
        if is_draining {
            running.hand_back();
        }
        Ok(Execution(running))
    }

    /// Begins to drain: no further tasks are taken, and tasks that have begun may end within a time. The rest of them
    /// is handed back, and goes on elsewhere at once.
    pub fn drain(&self, grace: Duration) {
        let mut state = lock(&self.0.state);
        state.is_draining = true;
        let at = now().checked_add(grace);
        state.hand_back_at = state.hand_back_at.into_iter().chain(at).min();
        let waiting = state.executions.clone();
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        for running in waiting {
            let has_begun = lock(&running.state).execution.leave();
            match has_begun {
                true => running.hand_back_waiting(),
                false => running.hand_back(),
            }
        }
        wakers.into_iter().for_each(wake);
        self.0.changed.notify_all();
    }

    /// Returns whether the agent is to take no further tasks.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        lock(&self.0.state).is_draining
    }

    /// Returns whether the agent drains and has no task any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let state = lock(&self.0.state);
        state.is_draining && state.executions.is_empty()
    }

    /// Polls for the beginning of the drain, for a loop that waits for tasks.
    pub fn poll_draining(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0.state);
        if state.is_draining {
            return Poll::Ready(());
        }
        keep(&mut state.wakers, context.waker());
        Poll::Pending
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl Execution {
    /// Returns the ledger that the engine has to keep for the next machine that gets the task, should this one be lost.
    /// It has to be acknowledged before anything runs, and may be sent again to show that this machine is alive. Ask for
    /// it each time, before the time is taken at which it is sent.
    ///
    /// While the task waits for others, it is the ledger that came with it: a machine that is lost meanwhile has not lost
    /// this task.
    #[must_use]
    pub fn ledger(&self) -> Vec<u8> {
        let agent = self.0.agent.upgrade();
        let may_begin = agent.is_none_or(|agent| agent.may_begin(&self.0));
        self.ledger_if(may_begin)
    }

    /// Returns the ledger that came with the task, to show that this machine is alive before the task is to begin.
    #[must_use]
    pub fn earlier_ledger(&self) -> Vec<u8> {
        self.ledger_if(false)
    }

    fn ledger_if(&self, may_begin: bool) -> Vec<u8> {
        let mut state = lock(&self.0.state);
        state.suspended = sys::suspended();
        state.is_earlier = !may_begin && state.execution.phase() == TaskPhase::Announced;
        match state.is_earlier {
            true => state.execution.earlier_ledger(),
            false => state.execution.ledger(),
        }
    }

    /// Takes in that the engine has acknowledged the ledger that was sent to it at a time. The first time, the calls
    /// begin.
    ///
    /// When nothing has been acknowledged that was sent within nine tenths of the
    /// [`host_timeout`](crate::engine::Task::host_timeout), this machine ends the task, which may begin on another
    /// one soon. If this process cannot, because it was stopped, its workers end themselves a twentieth later.
    pub fn acknowledged(&self, sent: Instant) {
        let now = now();
        let mut state = lock(&self.0.state);
        if state.is_earlier {
            return;
        }
        // The machine may have been suspended since.
        let sent = sent.checked_add(state.suspended).unwrap_or(now);
        let calls = state.execution.acknowledge(now, sent);
        if !calls.is_empty() {
            state.executed_before = self.0.served.executed.load(Ordering::Relaxed);
        }
        state.waiting.extend(calls);
        drop(state);
        if let Some(agent) = self.0.agent.upgrade() {
            agent.renew_lease();
        }
        self.0.advance();
        self.0.changed();
    }

    /// Asks for the end of the task, which the caller has cancelled.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Polls for what to tell the engine about the task. It is there once each call of it has ended or was handed
    /// back.
    pub fn verdict(&self) -> Decided<'_> {
        Decided(&self.0)
    }

    /// Waits for the [verdict](Self::verdict), for a time at most.
    #[must_use]
    pub fn wait(&self, time: Duration) -> Option<Verdict> {
        let until = now().checked_add(time);
        block::block_on_until(until, &mut self.verdict())
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        self.0.cancel();
        if let Some(agent) = self.0.agent.upgrade() {
            let mut state = lock(&agent.state);
            state.executions.retain(|one| !Arc::ptr_eq(one, &self.0));
            drop(state);
            agent.renew_lease();
            agent.advance();
        }
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field("function", &self.0.callee.registration.spec.name)
            .finish_non_exhaustive()
    }
}

impl Wait for Decided<'_> {}

impl Future for Decided<'_> {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        let mut state = lock(&self.0.state);
        if let Some(verdict) = &state.verdict {
            return Poll::Ready(verdict.clone());
        }
        keep(&mut state.wakers, context.waker());
        Poll::Pending
    }
}

impl fmt::Debug for Decided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decided").finish_non_exhaustive()
    }
}

impl Inner {
    /// Lets tasks begin that have waited for others to end.
    fn advance(&self) {
        let executions = lock(&self.state).executions.clone();
        executions.iter().for_each(Running::advance);
    }

    /// Tells the workers until when they may go on, if this process does not say anything else: until the first of the
    /// tasks that run may begin elsewhere.
    fn renew_lease(&self) {
        // Held until the lease is set, so that an earlier state does not replace a later one.
        let state = lock(&self.state);
        let end = |one: &Arc<Running>| lock(&one.state).execution.workers_end_at();
        let until = state.executions.iter().filter_map(end).min();
        let now = now();
        let left = until.map(|until| until.saturating_duration_since(now));
        self.engine.set_lease(left);
    }

    /// Does what is due for the tasks. Returns whether anything was.
    fn tick(&self) -> bool {
        let now = now();
        let mut state = lock(&self.state);
        let handed_back = state.hand_back_at.take_if(|at| *at <= now).is_some();
        let next = |one: &Arc<Running>| lock(&one.state).execution.next_timer();
        let is_due = |one: &&Arc<Running>| next(one).is_some_and(|at| at <= now);
        let due: Vec<_> = match handed_back {
            true => state.executions.clone(),
            false => state.executions.iter().filter(is_due).cloned().collect(),
        };
        drop(state);
        for running in &due {
            match handed_back {
                true => running.hand_back(),
                false => running.tick(now),
            }
        }
        !due.is_empty()
    }

    /// Waits until something may be due.
    fn wait_for_timers(&self) {
        let state = lock(&self.state);
        let now = now();
        let next = |one: &Arc<Running>| lock(&one.state).execution.next_timer();
        let timers = state.executions.iter().filter_map(next);
        let until = timers.chain(state.hand_back_at).min();
        let time = until.map_or(AGENT_CHECK_INTERVAL, |at| {
            at.saturating_duration_since(now).min(AGENT_CHECK_INTERVAL)
        });
        let waited = self.changed.wait_timeout(state, time);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns whether a task may begin: one that has to run alone once the earlier ones have ended, and the others
    /// unless an earlier one has to run alone.
    fn may_begin(&self, running: &Running) -> bool {
        let state = lock(&self.state);
        let is_alone = lock(&running.state).execution.is_suspect();
        let earlier = state.executions.iter();
        let mut earlier = earlier.take_while(|one| !std::ptr::eq(Arc::as_ptr(one), running));
        earlier.all(|one| match is_alone {
            true => lock(&one.state).execution.unfinished() == 0,
            false => !one.is_alone(),
        })
    }
}

impl Running {
    /// Returns whether the task has to run alone and has not ended.
    fn is_alone(&self) -> bool {
        let execution = &lock(&self.state).execution;
        execution.is_suspect() && execution.unfinished() > 0
    }

    /// Gives the calls that wait to the local engine, if they may begin.
    fn advance(self: &Arc<Self>) {
        let Some(agent) = self.agent.upgrade().filter(|agent| agent.may_begin(self)) else {
            return;
        };
        let mut state = lock(&self.state);
        if state.execution.phase() != TaskPhase::Running {
            return;
        }
        let calls = mem::take(&mut state.waiting);
        if calls.is_empty() {
            return;
        }
        let mut jobs = Vec::with_capacity(calls.len());
        for call in calls {
            if let Some(index) = call.index {
                state.indices.insert(call.number, index);
            }
            let job = Job {
                target: Arc::clone(self) as Arc<dyn Deliver>,
                number: call.number,
                index: call.index,
                input: call.input,
                objects: Objects::NONE,
                caller: self.caller,
                method: self.callee.registration.place(),
                spans: spans::Context::default(),
            };
            jobs.push((job, call.resumption));
        }
        drop(state);
        if let Err((reason, jobs)) = agent.engine.resume(&self.callee, jobs) {
            for (job, _) in jobs {
                self.end(job, rejected(reason.clone()));
            }
            self.conclude();
        }
        // It may have been asked to end, or to leave, before the local engine had the calls.
        let state = lock(&self.state);
        let (asked, leaves) = (state.execution.phase(), state.execution.leaves());
        drop(state);
        self.stop(&agent, asked);
        if leaves {
            self.hand_back_waiting();
        }
    }

    /// Ends what the local engine has of a task that was asked to end.
    fn stop(self: &Arc<Self>, agent: &Inner, asked: TaskPhase) {
        let target = Arc::clone(self) as Arc<dyn Deliver>;
        match asked {
            TaskPhase::Cancelled => agent.engine.cancel_all(&target),
            TaskPhase::Draining => agent.engine.hand_back_all(&target),
            TaskPhase::Lost => agent.engine.kill_all(&target),
            _ => {}
        }
    }

    /// Ends the calls that the local engine has not got.
    fn end_waiting(&self) {
        let mut state = lock(&self.state);
        for call in mem::take(&mut state.waiting) {
            let resumption = call.resumption.clone().unwrap_or_default();
            let outcome = failed(match state.execution.phase() {
                TaskPhase::Cancelled | TaskPhase::Lost => Failure::Cancelled(Cancelled::ByCaller),
                _ => Failure::HandedBack(resumption),
            });
            state.execution.end(now(), call, outcome);
        }
    }

    fn end(&self, job: Job, mut outcome: Outcome) {
        if outcome
            .result
            .as_ref()
            .is_ok_and(|value| value.named().is_some())
        {
            let reason = "a `Shared` cannot be the result of a call on another machine".into();
            outcome.result = Err(Failure::Lost(Lost::NotEncodable { reason }));
        }
        let mut state = lock(&self.state);
        let offset = match (job.index, state.indices.get(&job.number)) {
            (Some(index), Some(first)) => u32::try_from(index - first).unwrap_or_default(),
            _ => 0,
        };
        let call = LocalCall {
            number: job.number + offset,
            index: job.index,
            input: job.input,
            resumption: None,
        };
        let before = state.execution.executed();
        state.execution.end(now(), call, outcome);
        let executed = u64::from(state.execution.executed() - before);
        self.served.executed.fetch_add(executed, Ordering::Relaxed);
    }

    /// Tells the engine about the task, if nothing of it is running any more.
    fn conclude(&self) {
        let counts = self.callee.budget.as_ref().map(|budget| budget.counts());
        let mut state = lock(&self.state);
        let host = HostFacts {
            slots: self.served.slots,
            executed: self.served.executed.load(Ordering::Relaxed) - state.executed_before,
            counts: counts.unwrap_or_default(),
        };
        let verdict = state.execution.verdict(now(), host);
        let Some(verdict) = verdict else {
            drop(state);
            return self.changed();
        };
        state.verdict = Some(verdict);
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        if let Some(agent) = self.agent.upgrade() {
            agent.renew_lease();
            agent.advance();
        }
        wakers.into_iter().for_each(wake);
    }

    fn cancel(self: &Arc<Self>) {
        // A task that was lost while this process was stopped: the engine may say so before the timers run again.
        self.tick(now());
        let runs = lock(&self.state).execution.cancel();
        self.end_at_once(runs);
    }

    /// Hands all calls back that have not ended.
    fn hand_back(self: &Arc<Self>) {
        let runs = lock(&self.state).execution.drain();
        self.end_at_once(runs);
    }

    /// Hands the calls back that no worker has.
    fn hand_back_waiting(self: &Arc<Self>) {
        if let Some(agent) = self.agent.upgrade() {
            let target = Arc::clone(self) as Arc<dyn Deliver>;
            agent.engine.hand_back_waiting(&target);
        }
        self.end_waiting();
        self.conclude();
    }

    /// Ends a task that was asked to end, if it runs.
    fn end_at_once(self: &Arc<Self>, runs: bool) {
        if runs && let Some(agent) = self.agent.upgrade() {
            let asked = lock(&self.state).execution.phase();
            self.stop(&agent, asked);
            self.end_waiting();
        }
        self.conclude();
    }

    fn tick(self: &Arc<Self>, now: Instant) {
        let mut state = lock(&self.state);
        let (due, is_lost) = state.execution.tick(now);
        state.waiting.extend(due);
        drop(state);
        if is_lost && let Some(agent) = self.agent.upgrade() {
            let name = short_name(self.callee.registration.spec.name);
            (agent.say)(&format!(
                "lost a task of {name}: the engine has acknowledged nothing for too long"
            ));
        }
        self.advance();
        self.end_at_once(is_lost);
        if is_lost && let Some(agent) = self.agent.upgrade() {
            // Only now: until its calls are ended here, their workers must end them.
            agent.renew_lease();
        }
    }

    /// Tells the thread that waits for timers that there are others.
    fn changed(&self) {
        if let Some(agent) = self.agent.upgrade() {
            // Locked, so that the thread does not miss it between its look at the timers and its wait.
            drop(lock(&agent.state));
            agent.changed.notify_all();
        }
    }
}

impl Deliver for Running {
    fn deliver(self: Arc<Self>, outcomes: Outcomes<'_, '_>) {
        for (job, outcome) in outcomes {
            self.end(job, outcome);
        }
        self.conclude();
    }
}

/// The time after which the thread for timers looks whether the agent is still there.
const AGENT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

fn run_timers(agent: &Weak<Inner>) {
    while let Some(agent) = agent.upgrade() {
        if !agent.tick() {
            agent.wait_for_timers();
        }
    }
}

/// Returns the time on a clock that goes on while the machine is suspended, as the engine's does.
fn now() -> Instant {
    let now = Instant::now();
    now.checked_add(sys::suspended()).unwrap_or(now)
}
