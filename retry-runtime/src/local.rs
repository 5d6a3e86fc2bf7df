//! The thin shell around the scheduler: it feeds in events and carries out decisions.
//!
//! Callers and the I/O thread both step the scheduler under one lock, and perform its actions
//! before they release the lock. Outcomes are delivered after that, since they wake user code.

pub(crate) mod answer;
pub(crate) mod backend;
pub(crate) mod clock;
pub(crate) mod core;
pub(crate) mod link;
mod perform;
pub(crate) mod running;
mod spans;
mod suspend;
mod wait;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::api::call_id::CallNumber;
use crate::api::context::short_name;
use crate::api::events::{Events, Publisher, Subscriber};
use crate::api::failure::{Cancelled, Rejected};
use crate::api::run::RunId;
use crate::api::spec::FunctionSpec;
use crate::codec::payload;
use crate::config::Config;
use crate::function::callee::Callee;
use crate::job::delivery::{self, Deliver};
use crate::job::outcome::{CallKey, Outcome};
use crate::job::resumption::Resumption;
use crate::job::{Job, capture};
use crate::scheduler::{Counts, FunctionKey, Inbound, NestedOrigin, Numbers, Scheduler};
use crate::shared::StagingPool;
use crate::sys::{self, Mark, PerProcess};
use crate::wait::AnswerSource;
use crate::wire::Lease;
use crate::wire::launch::depth;
use backend::Backend;
use clock::Clock;
use core::Core;

/// The maximum nesting depth of programs that start each other through calls.
const MAX_PROGRAM_DEPTH: u32 = 10;

/// The maximum number of workers whose answers a waiting thread polls.
const ATTENDED: usize = 8;

/// The largest capacity of the outcome buffer that a thread keeps after a step.
const KEPT_OUTCOMES: usize = 256;

/// The number of functions below which unused configurations are not removed.
const SWEEP_FROM: usize = 64;

/// The hooks of a program with `#[local_entrypoint]`; unset in other programs.
static PROGRAM: OnceLock<ProgramHooks> = OnceLock::new();

/// The numbers that the calls and workers of all engines get.
static NUMBERS: PerProcess<Arc<Numbers>> = PerProcess::new();

/// A call that another process has made, with what is known of earlier attempts at it.
pub(crate) type ResumedJob = (Job, Option<Box<Resumption>>);

/// Returns the numbers of this process's calls, which all engines share.
pub(crate) fn numbers() -> Arc<Numbers> {
    Arc::clone(NUMBERS.get_or_init(Arc::default))
}

/// Gives a part of the runtime all events of the default runtime.
pub(crate) type Observe<'a> = &'a dyn Fn(Arc<dyn Subscriber>);

/// The hooks that `#[local_entrypoint]` installs.
pub(crate) struct ProgramHooks {
    /// Called when the engine of a process has started, also in forked children.
    pub(crate) on_engine_start: fn(Observe<'_>),
    /// Prints a message for the user.
    pub(crate) say: fn(&str),
}

thread_local! {
    /// A reusable buffer for the outcomes of a step, of which there is mostly one.
    static OUTCOMES: Cell<Vec<(Job, Outcome)>> = const { Cell::new(Vec::new()) };
}

/// Facts about the function of a call that was submitted.
pub(crate) struct Submitted {
    /// The function whose workers will answer, if they are workers of this process.
    pub(crate) function: Option<FunctionKey>,
    /// The number of inputs that its workers together may hold ahead of time.
    pub(crate) ahead: usize,
    /// The maximum number of its workers, or of tasks for other machines.
    pub(crate) most_workers: usize,
    /// The source that this thread has to poll for the answer, or to [hand
    /// over](LocalEngine::hand_over) to another thread.
    pub(crate) source: Option<Arc<dyn AnswerSource>>,
}

/// The caller's intent to poll for the answer as soon as the call is sent. If it polls, the worker
/// does not wake any thread for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollIntent {
    No,
    /// The caller polls if the function is quick.
    IfQuick,
    Yes,
}

/// The answers that a thread waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitTarget {
    /// The answers of all workers of a function.
    Of(FunctionKey),
    /// The answer to a call.
    To(Option<CallKey>),
}

/// The place where a thread may park while it waits for an answer.
pub(super) enum ParkSpot {
    At(Arc<dyn AnswerSource>),
    /// At a worker that is being started: the thread is unparked when the worker exists or could
    /// not be started.
    Soon,
    Nowhere,
}

/// A lease of workers.
struct Lent {
    lease: Lease,
    /// Called when a worker has ended because the lease was over, before its calls are handed out again.
    over: Box<dyn Fn() + Send + Sync>,
}

/// Schedules the calls of one runtime on workers of this machine.
pub(crate) struct LocalEngine {
    core: Mutex<Core>,
    backend: Box<dyn Backend>,
    publisher: Publisher,
    spans: spans::Spans,
    max_message: AtomicUsize,
    config: Arc<Config>,
    /// A reference to itself, for the threads that work for the engine.
    this: Weak<LocalEngine>,
    /// The lease of the workers, if they are an agent's.
    lent: OnceLock<Lent>,
    /// The process that the engine belongs to.
    run: RunId,
    mark: Mark,
}

impl fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEngine").finish_non_exhaustive()
    }
}

impl LocalEngine {
    /// Calls the program's start hook, if there is one, when the engine of its process has started.
    pub(crate) fn call_start_hook(observe: Observe<'_>) {
        if let Some(program) = PROGRAM.get() {
            (program.on_engine_start)(observe);
        }
    }

    /// Installs the hooks of a program, which may print messages for its user.
    pub(crate) fn set_program_hooks(program: ProgramHooks) {
        let _ = PROGRAM.set(program);
    }

    /// Prints a message for the user if this is a program; a library stays silent.
    pub(crate) fn say(text: &str) {
        if let Some(program) = PROGRAM.get() {
            (program.say)(text);
        }
    }

    /// Returns whether the engine belongs to the process that this one was forked from: see
    /// `Host::is_foreign`.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    /// Returns the run that its calls belong to.
    #[inline]
    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    /// Creates an engine and starts its I/O thread.
    pub(crate) fn start(config: Config, backend: Box<dyn Backend>) -> io::Result<Arc<Self>> {
        let seed = config.seed.unwrap_or_else(sys::monotonic_nanos);
        let max_message = config.max_message;
        let config = Arc::new(config);
        let mut scheduler = Scheduler::new(seed, numbers());
        scheduler.set_max_processes(config.max_processes);
        let engine = Arc::new_cyclic(|this| Self {
            core: Mutex::new(Core {
                scheduler,
                config: Arc::clone(&config),
                functions: BTreeMap::new(),
                pools: Vec::new(),
                configurations: SWEEP_FROM,
                links: BTreeMap::new(),
                early: Vec::new(),
                dirty: Vec::new(),
                clock: Clock::default(),
                armed: None,
                draining: Vec::new(),
            }),
            backend,
            publisher: Publisher::default(),
            spans: spans::Spans::default(),
            max_message: AtomicUsize::new(0),
            config,
            this: Weak::clone(this),
            lent: OnceLock::new(),
            run: RunId::current(),
            mark: Mark::current(),
        });
        engine.set_max_message(max_message);
        engine.register();
        engine.backend.start(&engine)?;
        Ok(engine)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Gives the workers that are started from now on a lease, which does not end before it is [set](Self::set_lease).
    /// `over` is called when a worker has ended because of it, before its calls are handed out again.
    ///
    /// # Errors
    ///
    /// If the operating system has no descriptor or memory left for it.
    pub(crate) fn lend(&self, over: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
        let over = Box::new(over);
        let lease = Lease::create()?;
        let _ = self.lent.set(Lent { lease, over });
        Ok(())
    }

    /// Sets for how long the workers may go on from now on; `None` if they may for ever. Calls of this must not
    /// overlap.
    pub(crate) fn set_lease(&self, left: Option<Duration>) {
        if let Some(lent) = self.lent.get() {
            lent.lease.set(left);
        }
    }

    /// Returns the lease of the workers, if there is one.
    #[cfg(all(target_os = "linux", not(retry_no_processes)))]
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lent.get().map(|lent| &lent.lease)
    }

    /// Takes in that a worker has ended because its lease was over.
    #[cfg(all(target_os = "linux", not(retry_no_processes)))]
    pub(crate) fn note_lease_over(&self) {
        if let Some(lent) = self.lent.get() {
            (lent.over)();
        }
    }

    /// Returns the maximum number of workers of a function or service.
    pub(crate) fn max_workers(&self, spec: &FunctionSpec) -> usize {
        core::max_workers(&self.config, spec)
    }

    /// Begins the shutdown; see [`Scheduler::shut_down`]. Does nothing in a forked child.
    pub(crate) fn shut_down(&self, grace: Duration, runs_queued: bool, is_awaited: bool) {
        if self.is_foreign() {
            return;
        }
        self.step(|core, now| {
            self.backend.close();
            core.scheduler
                .shut_down(now, grace, runs_queued, is_awaited);
        });
        // The I/O thread must check whether it is still needed.
        self.backend.wake();
    }

    /// Polls for the end of all calls and processes. Ready with the calls that the shutdown gave
    /// up; in a forked child ready at once with none.
    pub(crate) fn poll_drained(&self, waker: &Waker) -> Poll<Vec<(CallNumber, &'static str)>> {
        if self.is_foreign() {
            return Poll::Ready(Vec::new());
        }
        let mut core = self.lock();
        if self.has_drained(&core) {
            return Poll::Ready(core.scheduler.abandoned().to_vec());
        }
        core.draining.push(waker.clone());
        Poll::Pending
    }

    /// Returns the counts of a function.
    pub(crate) fn counts(&self, function: &str) -> Counts {
        let all = self.lock().scheduler.read();
        let found = all.into_iter().find(|reading| reading.name == function);
        found.map_or_else(Counts::default, |reading| reading.counts)
    }

    /// Returns how many calls are executing, and how many are not.
    pub(crate) fn pending(&self) -> (usize, usize) {
        self.lock().scheduler.pending()
    }

    /// Returns the worker processes that are still there, as `worker 12 of f`.
    pub(crate) fn processes(&self) -> Vec<String> {
        self.lock().scheduler.processes().map(worker_name).collect()
    }

    /// Returns the names of the workers that were killed because they had not exited when the grace
    /// of a shutdown was over.
    pub(crate) fn killed_at_shutdown(&self) -> Vec<String> {
        let core = self.lock();
        let killed = core.scheduler.killed_at_shutdown().iter().copied();
        killed.map(worker_name).collect()
    }

    /// Returns whether the I/O thread may end: the engine is shut down and drained.
    pub(crate) fn is_drained(&self) -> bool {
        self.has_drained(&self.lock())
    }

    /// Returns the running time, which stands still while the program is suspended. Waits for the end of a
    /// suspension.
    pub(crate) fn running_time(&self) -> Instant {
        self.lock().clock.running()
    }

    /// Returns the real time at a time of [`running_time`](Self::running_time).
    pub(crate) fn real(&self, running: Instant) -> Instant {
        self.lock().clock.real(running)
    }

    /// Returns the memory in which large arguments of calls are staged, if they can be.
    pub(crate) fn staging(&self) -> Option<&Arc<StagingPool>> {
        self.backend.staging().filter(|_| !self.is_foreign())
    }

    pub(crate) fn max_message(&self) -> usize {
        self.max_message.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_message(&self, bytes: usize) {
        let bytes = payload::possible_limit(bytes);
        self.max_message.store(bytes, Ordering::Relaxed);
    }

    /// Returns whether no call and no worker is left, and none will come.
    fn has_drained(&self, core: &Core) -> bool {
        core.scheduler.is_drained() && self.backend.is_closed()
    }

    /// Subscribes to the events from now on; in a forked child there are none.
    pub(crate) fn subscribe(&self) -> Events {
        if self.is_foreign() {
            return Events::none();
        }
        let events = self.publisher.subscribe();
        self.step(|core, _| core.scheduler.set_interest(self.publisher.interest()));
        events
    }

    /// Gives a part of the runtime all events from now on.
    pub(crate) fn observe(&self, subscriber: Arc<dyn Subscriber>) {
        self.publisher.add(subscriber);
        self.step(|core, _| core.scheduler.set_interest(self.publisher.interest()));
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Submits a call or the inputs of a chunk. Returns the key of the last one.
    pub(crate) fn submit(
        &self,
        callee: &Callee,
        job: Job,
        intent: PollIntent,
    ) -> Result<(CallKey, Submitted), Rejected> {
        if let Some(problem) = &self.config.invalid {
            return Err(Rejected::Configuration(problem.clone()));
        }
        if !self.backend.may_start_workers() {
            return Err(Rejected::NotInitialised);
        }
        if depth() >= MAX_PROGRAM_DEPTH {
            return Err(Rejected::TooDeep {
                limit: MAX_PROGRAM_DEPTH,
            });
        }
        self.step(|core, now| {
            let function = core.function(callee)?;
            let outer = self.backend.current(self);
            let called = callee.registration.pool().name;
            let name = callee.registration.spec.name;
            let terms = core.terms(function, callee);
            if capture::is_on() {
                capture::route(called, job.caller.0);
            }
            let call = match outer {
                Some((worker, ticket)) if core.links.contains_key(&worker.id) => {
                    let calls = job.parts().map(|job| {
                        let id = core.scheduler.next_nested(worker);
                        let origin = NestedOrigin { id, worker, ticket };
                        let terms = Arc::clone(&terms);
                        let traced = self.trace(core, &job);
                        let scheduler = &mut core.scheduler;
                        let call = scheduler.submit_nested(now, function, terms, origin, job);
                        self.begin_spans(id, name, traced);
                        call
                    });
                    calls.last().expect("a job has an input")
                }
                _ => {
                    let traced = self.trace(core, &job);
                    let call = core.scheduler.submit(now, function, terms, job);
                    self.begin_spans(call.id, name, traced);
                    call
                }
            };
            core.scheduler.dispatch(now, function);
            let ahead = core.scheduler.ahead(function);
            let most_workers = core.scheduler.most_workers(function);
            let polls = match intent {
                PollIntent::No => false,
                PollIntent::IfQuick => core.scheduler.is_quick(function),
                PollIntent::Yes => true,
            };
            let source = polls.then_some(call).and_then(|call| {
                let worker = core.scheduler.sent_to(call)?;
                let source = core.links.get(&worker.id)?.source()?;
                source.announce_poll();
                Some(source)
            });
            let submitted = Submitted {
                function: Some(function),
                ahead,
                most_workers,
                source,
            };
            Ok((call, submitted))
        })
    }

    /// Submits calls that another process has made, with what is known of earlier attempts at each.
    ///
    /// # Errors
    ///
    /// Returns the calls if none of them is accepted, with the reason.
    pub(crate) fn resume(
        &self,
        callee: &Callee,
        calls: Vec<ResumedJob>,
    ) -> Result<(), (Rejected, Vec<ResumedJob>)> {
        if let Some(problem) = &self.config.invalid {
            return Err((Rejected::Configuration(problem.clone()), calls));
        }
        if !self.backend.may_start_workers() {
            return Err((Rejected::NotInitialised, calls));
        }
        self.step(|core, now| {
            let function = match core.function(callee) {
                Ok(function) => function,
                Err(reason) => return Err((reason, calls)),
            };
            let terms = core.terms(function, callee);
            for (job, resumption) in calls {
                let terms = Arc::clone(&terms);
                let traced = self.trace(core, &job);
                let scheduler = &mut core.scheduler;
                let key = match resumption {
                    None => scheduler.submit(now, function, terms, job),
                    Some(behind) => scheduler.resume(now, function, terms, job, *behind),
                };
                self.begin_spans(key.id, callee.registration.spec.name, traced);
            }
            core.scheduler.dispatch(now, function);
            Ok(())
        })
    }

    pub(crate) fn cancel(&self, call: CallKey) {
        self.step(|core, _| core.scheduler.cancel([call], Cancelled::ByCaller));
    }

    /// Cancels the calls whose outcomes go to a target.
    pub(crate) fn cancel_all(&self, target: &Arc<dyn Deliver>) {
        let goes_there = |job: &Job| delivery::is_same(&job.target, target);
        self.step(|core, _| core.scheduler.cancel_where(goes_there, Cancelled::ByCaller));
    }

    /// Cancels the calls whose outcomes go to a target, and kills the workers that may be executing one of them.
    pub(crate) fn kill_all(&self, target: &Arc<dyn Deliver>) {
        let goes_there = |job: &Job| delivery::is_same(&job.target, target);
        self.step(|core, _| core.scheduler.kill_where(goes_there));
    }

    /// Takes those calls away that no worker has and whose outcomes go to a target, for another engine.
    pub(crate) fn hand_back_waiting(&self, target: &Arc<dyn Deliver>) {
        let goes_there = |job: &Job| delivery::is_same(&job.target, target);
        self.step(|core, now| core.scheduler.hand_back_waiting(now, goes_there));
    }

    /// Takes the calls whose outcomes go to a target away, for another engine, and kills the workers that may be
    /// executing one of them.
    pub(crate) fn hand_back_all(&self, target: &Arc<dyn Deliver>) {
        let goes_there = |job: &Job| delivery::is_same(&job.target, target);
        self.step(|core, now| core.scheduler.hand_back_where(now, goes_there));
    }

    /// Steps the scheduler, performs its actions and delivers the outcomes.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut Core, Instant) -> R) -> R {
        // A call may be dropped while the thread's locals are destroyed; then the buffer is gone.
        let mut outcomes = OUTCOMES.try_with(Cell::take).unwrap_or_default();
        let mut core = self.lock();
        let now = core.now();
        let result = step(&mut core, now);
        self.act(&mut core, now, &mut outcomes);
        while let Some(next) = core.skippable_until() {
            let ahead = next.saturating_duration_since(core.now());
            core.clock.skip(ahead);
            // The I/O thread computed its wait from the clock before this skip.
            core.armed = None;
            core.scheduler.tick(next, Inbound::Drained);
            self.act(&mut core, next, &mut outcomes);
        }
        let wake = core.rearm();
        let is_drained = self.has_drained(&core);
        let drained = if is_drained {
            std::mem::take(&mut core.draining)
        } else {
            Vec::new()
        };
        drop(core);
        // The backend's thread ends with the engine.
        if wake || is_drained {
            self.backend.wake();
        }
        self.catch_up(&mut outcomes);
        delivery::deliver(&mut outcomes);
        if outcomes.capacity() <= KEPT_OUTCOMES {
            let _ = OUTCOMES.try_with(|kept| kept.set(outcomes));
        }
        for waker in drained {
            delivery::wake(waker);
        }
        result
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        debug_assert!(
            !self.is_foreign(),
            "a forked child uses its parent's engine"
        );
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn worker_name((pid, function): (Option<u32>, &'static str)) -> String {
    let function = short_name(function);
    match pid {
        Some(pid) => format!("worker {pid} of {function}"),
        None => format!("a worker of {function}"),
    }
}
