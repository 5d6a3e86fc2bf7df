//! The thin shell around the scheduler: it feeds in what happened and does what is decided.
//!
//! Callers and the I/O thread both step the scheduler, under one lock, and perform its actions
//! before they let go of it. Outcomes are delivered after that, since they wake user code.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Options;
use crate::budget::Budget;
use crate::capture;
use crate::config::Config;
use crate::context::{CallId, short_name};
use crate::delivery::{self, Sink};
use crate::entry;
use crate::error::{Cancelled, Rejected, Startup};
use crate::events::{Events, Publisher};
use crate::faults;
use crate::inline;
use crate::map;
use crate::nested::Upstream;
use crate::options::Policy;
use crate::parcel::{self, Caller, Parcel, Parts};
use crate::pool::{self, Inbox, Inlet, Request, Sleeper, Spare};
use crate::registry::{self, NotFound, Registration};
use crate::scheduler::{
    Action, CallKey, Counts, Failure, FunctionKey, FunctionPolicy, Inbound, Origin, Outcome,
    Scheduler, Terms, WorkerKey,
};
use crate::spin::{Patience, Spin};
use crate::sys::{self, Mark, PerProcess};
use crate::transport::frame::{CallHeader, Order};
use crate::transport::{DEPTH_VARIABLE, Link};

/// The deepest that programs which make calls may start each other.
const DEEPEST: u32 = 10;

/// How many workers a thread looks after while it waits.
const ATTENDED: usize = 8;

/// Room for so many outcomes is kept by a thread that steps.
const KEPT_OUTCOMES: usize = 256;

/// With fewer functions none is forgotten.
const SWEEP_FROM: usize = 64;

static GLOBAL: PerProcess<Arc<Engine>> = PerProcess::new();

/// The engine's duties in a program that go beyond those in a library.
static PROGRAM: OnceLock<Program> = OnceLock::new();

/// The parts of a program with `#[local_entrypoint]`.
pub(crate) struct Program {
    /// Called when the engine of a process has started, in forked children as well.
    pub(crate) starts: fn(),
    /// Tells the user something.
    pub(crate) says: fn(&str),
}

thread_local! {
    /// Room for the outcomes of a step, of which there is mostly one.
    static OUTCOMES: Cell<Vec<(Job, Outcome)>> = const { Cell::new(Vec::new()) };
}

/// A call's input and where its outcome goes; or those of a chunk of calls.
pub(crate) struct Job {
    pub(crate) sink: Sink,
    /// The place of the first input in its map.
    pub(crate) index: Option<u64>,
    pub(crate) input: Parcel,
    pub(crate) caller: Caller,
    /// Which method of a service is called.
    pub(crate) method: u16,
}

impl Parts for Job {
    fn count(&self) -> u32 {
        self.input.count()
    }

    fn split_front(&mut self, count: u32) -> Self {
        let front = Self {
            sink: self.sink.clone(),
            index: self.index,
            input: self.input.split_front(count),
            caller: self.caller,
            method: self.method,
        };
        self.index = self.index.map(|index| index + u64::from(count));
        front
    }

    fn index(&self) -> Option<u64> {
        self.index
    }

    fn has_room(&self) -> bool {
        match &self.sink {
            Sink::Nested(worker, _) => !worker.is_behind(),
            Sink::Slot(_) | Sink::Kept(_) | Sink::Map(_) => true,
        }
    }

    fn caller(&self) -> Caller {
        self.caller
    }

    fn settle(&mut self) {
        self.input.settle();
    }
}

impl Job {
    /// The calls of a chunk, one by one.
    pub(crate) fn parts(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let mut job = rest.take()?;
            if job.count() > 1 {
                let front = job.split_front(1);
                rest = Some(job);
                job = front;
            }
            Some(job)
        })
    }
}

/// What is called, and on what terms.
#[derive(Clone)]
pub(crate) struct Callee {
    pub(crate) registration: &'static Registration,
    /// The encoded parameters of the service's constructor.
    pub(crate) config: Option<Arc<[u8]>>,
    pub(crate) policy: Policy,
    pub(crate) budget: Option<Arc<Budget>>,
}

/// Where the calls of this process are scheduled: here, or by the parent of this worker.
#[derive(Clone)]
pub(crate) enum Host {
    Here(Arc<Engine>),
    Parent(&'static Upstream),
    /// There was nothing to start an engine with; this says what was missing.
    Nowhere(Arc<str>),
}

impl Host {
    /// Where calls go unless they are told otherwise.
    pub(crate) fn global() -> Self {
        match Upstream::get() {
            Some(upstream) => Self::Parent(upstream),
            None => match Engine::global() {
                Ok(engine) => Self::Here(Arc::clone(engine)),
                Err(error) => Self::Nowhere(error.to_string().into()),
            },
        }
    }

    /// Returns whether this process was forked from the one that the calls are made in. What belongs to
    /// that one must not be touched: its threads are not here, its locks may be held for ever, and
    /// its sockets and rings are shared with it.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Here(engine) => engine.is_foreign(),
            Self::Parent(upstream) => upstream.is_foreign(),
            Self::Nowhere(_) => false,
        }
    }

    /// Returns the engine, if it is the one of which a program shows the progress.
    pub(crate) fn if_global(&self) -> Option<&Arc<Engine>> {
        match (self, Engine::global_if_started()) {
            (Self::Here(engine), Some(global)) if Arc::ptr_eq(engine, global) => Some(engine),
            _ => None,
        }
    }

    /// The options that hold where neither attribute nor call site says otherwise.
    pub(crate) fn options(&self) -> Options {
        match self {
            Self::Here(engine) => engine.config.options,
            Self::Parent(upstream) => upstream.options(),
            Self::Nowhere(_) => Config::from_environment().options,
        }
    }

    pub(crate) fn max_message(&self) -> usize {
        match self {
            Self::Here(engine) => engine.max_message(),
            Self::Parent(upstream) => upstream.max_message(),
            Self::Nowhere(_) => Config::from_environment().max_message,
        }
    }

    /// Submits calls of one function, in order. Returns what is known of it, if they are scheduled
    /// here.
    pub(crate) fn submit(
        &self,
        callee: &Callee,
        jobs: impl IntoIterator<Item = Job>,
        looks: Looks,
        submitted: impl FnMut(CallKey),
    ) -> Result<Option<Submitted>, Rejected> {
        if self.is_foreign() {
            return Err(Rejected::Forked);
        }
        match self {
            Self::Here(engine) => engine.submit(callee, jobs, looks, submitted).map(Some),
            Self::Parent(upstream) => upstream.submit(callee, jobs, submitted).map(|()| None),
            Self::Nowhere(reason) => Err(Rejected::NoResources(reason.as_ref().into())),
        }
    }

    /// Leaves a worker to others, after all.
    pub(crate) fn leave(&self, inlet: Arc<Inlet>) {
        if let Self::Here(engine) = self {
            engine.inbox.hand_over(inlet);
        }
    }

    /// Looks for answers at a worker and sleeps there, until the thread is woken or the time has come.
    pub(crate) fn rest_at(
        &self,
        inlet: &Arc<Inlet>,
        until: Instant,
        sleeper: &dyn Sleeper,
        spin: &mut Spin,
    ) {
        if let Self::Here(engine) = self {
            pool::rest(engine, inlet, Some(until), sleeper, spin);
        }
    }

    /// Looks for answers, until the thread is woken, the time has come or the patience is over.
    pub(crate) fn attend_until(
        &self,
        answers: Answers,
        until: Option<Instant>,
        sleeper: &dyn Sleeper,
        spin: &mut Spin,
    ) {
        let mut is_over =
            || sleeper.is_woken() || until.is_some_and(|until| until <= Instant::now());
        if let Self::Here(engine) = self {
            if engine.is_foreign() {
                return;
            }
            let inlets = engine.lock().inlets(answers);
            pool::attend(engine, &inlets, spin, &mut is_over);
        } else {
            spin.look_until(&mut is_over);
        }
    }

    /// Looks for the answer to a call as long as there is patience, and sleeps at the worker that
    /// has the call, if that can be done: until the thread is woken or the time has come. It begins
    /// where it has to look.
    pub(crate) fn rest(
        &self,
        call: Option<CallKey>,
        inlet: Option<Arc<Inlet>>,
        until: Option<Instant>,
        sleeper: &dyn Sleeper,
        spin: &mut Spin,
    ) {
        let late = || until.is_some_and(|until| until <= Instant::now());
        let Self::Here(engine) = self else {
            return self.attend_until(Answers::To(call), until, sleeper, spin);
        };
        let mut first = inlet;
        let mut replaces = false;
        while !sleeper.is_woken() && !late() {
            let place = match first.take() {
                Some(inlet) => Place::At(inlet),
                None => engine.lock().place_for(call),
            };
            match place {
                Place::At(inlet) => {
                    // A worker that has ended may have been replaced.
                    if replaces {
                        // It may be about to answer.
                        *spin = Patience::new().spin();
                    }
                    if !pool::rest(engine, &inlet, until, sleeper, spin) {
                        return;
                    }
                    replaces = true;
                }
                Place::Soon => match until {
                    None => thread::park(),
                    Some(until) => {
                        thread::park_timeout(until.saturating_duration_since(Instant::now()));
                    }
                },
                Place::Nowhere => {
                    return self.attend_until(Answers::To(call), until, sleeper, spin);
                }
            }
        }
        if let Some(inlet) = first {
            self.leave(inlet);
        }
    }

    /// Returns how many bytes of a map's results may wait for their consumer.
    pub(crate) fn max_buffered(&self) -> usize {
        match self {
            Self::Here(engine) => engine.config.max_buffered,
            Self::Parent(upstream) => upstream.max_buffered(),
            Self::Nowhere(_) => usize::MAX,
        }
    }

    /// Has inputs of a map held back, or not any longer, as `held` says at that moment; in a forked
    /// child, nothing.
    pub(crate) fn hold(&self, caller: Caller, held: impl FnOnce() -> Option<Option<u64>>) {
        match self {
            _ if self.is_foreign() => {}
            // Asked for under the lock, so that the last one to step says what holds.
            Self::Here(engine) => engine.step(|core, _| core.scheduler.hold(caller, held())),
            Self::Parent(upstream) => upstream.hold(caller, held),
            Self::Nowhere(_) => {}
        }
    }

    /// Returns whether a worker of a function is ready, if that is known here.
    pub(crate) fn is_served(&self, function: FunctionKey) -> bool {
        match self {
            _ if self.is_foreign() => false,
            Self::Here(engine) => engine.lock().scheduler.is_served(function),
            Self::Parent(_) | Self::Nowhere(_) => false,
        }
    }

    /// Cancels a call; in a forked child, nothing.
    pub(crate) fn cancel(&self, call: CallKey) {
        match self {
            _ if self.is_foreign() => {}
            Self::Here(engine) => engine.cancel(call),
            Self::Parent(upstream) => upstream.cancel(call),
            Self::Nowhere(_) => {}
        }
    }

    /// Cancels what is left of a map; in a forked child, nothing.
    pub(crate) fn cancel_map(&self, map: &Arc<map::Shared>) {
        match self {
            _ if self.is_foreign() => {}
            Self::Here(engine) => engine.cancel_map(map),
            Self::Parent(upstream) => upstream.cancel_map(map),
            Self::Nowhere(_) => {}
        }
    }
}

/// What is known of a function that is called.
pub(crate) struct Submitted {
    /// Where to look for answers.
    pub(crate) function: FunctionKey,
    /// How many inputs its workers are given ahead of time, all together.
    pub(crate) ahead: usize,
    /// How many workers there may be.
    pub(crate) most_workers: usize,
    /// Where this thread has to look for the answer to the last call, or to [have others
    /// look](Host::leave).
    pub(crate) inlet: Option<Arc<Inlet>>,
}

/// Whether who submits a call looks for its answer as soon as it is sent. Its worker then wakes
/// nobody for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    No,
    /// If the function is quick.
    IfQuick,
    Yes,
}

/// Which answers are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// Those of all workers of a function.
    Of(FunctionKey),
    /// The one to a call.
    To(Option<CallKey>),
}

/// Where a thread may sleep that waits for an answer.
enum Place {
    At(Arc<Inlet>),
    /// At a worker that is being started: the thread is woken when there is a place.
    Soon,
    Nowhere,
}

/// Everything behind the calls of one process.
pub(crate) struct Engine {
    core: Mutex<Core>,
    inbox: Inbox,
    publisher: Publisher,
    max_message: AtomicUsize,
    config: Arc<Config>,
    /// Itself, for the threads that work for it.
    this: Weak<Engine>,
    /// The process that it works in.
    mark: Mark,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

pub(crate) struct Core {
    pub(crate) scheduler: Scheduler<Job>,
    config: Arc<Config>,
    functions: BTreeMap<PoolName, Result<FunctionKey, Rejected>>,
    /// Further facts about each function, by the places of their keys.
    pools: Vec<Pool>,
    /// The number of functions from which unused ones are looked for.
    configurations: usize,
    links: BTreeMap<u64, Box<dyn Link>>,
    /// Threads that would sleep at a worker which is being started.
    early: Vec<Thread>,
    /// What the next worker may be made of.
    pub(crate) spare: Spare,
    /// How many processes have ended whose end is told, and that are about to be waited for.
    pub(crate) unreaped: usize,
    /// Workers with something new to write.
    dirty: Vec<WorkerKey>,
    /// How much further than the real one the clock is: only where a test lets it be.
    ahead: Duration,
    /// When the I/O thread will wake up by itself.
    armed: Option<Instant>,
    /// Those who wait for the end of all calls and workers.
    draining: Vec<Waker>,
}

/// A function's or service's name, and the configuration of the service.
type PoolName = (&'static str, Option<Arc<[u8]>>);

/// What the scheduler need not know of a function.
struct Pool {
    /// What the constructor of a service is given.
    config: Option<Arc<[u8]>>,
    /// The terms of its last call: those of the next one tend to be the same.
    terms: Option<Arc<Terms>>,
}

impl Engine {
    /// The engine that calls of this process use unless they are told otherwise.
    ///
    /// # Errors
    ///
    /// If the operating system has no thread, descriptor or memory left for it. The next call tries
    /// again.
    pub(crate) fn global() -> io::Result<&'static Arc<Self>> {
        static STARTING: PerProcess<Mutex<()>> = PerProcess::new();
        if let Some(engine) = Self::global_if_started() {
            return Ok(engine);
        }
        let starting = STARTING.get_or_init(|| Mutex::new(()));
        let _one_at_a_time = starting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = Self::global_if_started() {
            return Ok(engine);
        }
        let engine = Self::start(Config::from_environment())?;
        if let Some(program) = PROGRAM.get() {
            (program.starts)();
        }
        Ok(GLOBAL.get_or_init(|| engine))
    }

    /// Returns the default engine if there has been a call in this process already.
    pub(crate) fn global_if_started() -> Option<&'static Arc<Self>> {
        GLOBAL.get()
    }

    /// Makes known that this is a program, which may tell its user something.
    pub(crate) fn serves_program(program: Program) {
        let _ = PROGRAM.set(program);
    }

    /// Tells the user something, if this is a program; a library stays silent.
    pub(crate) fn say(text: &str) {
        if let Some(program) = PROGRAM.get() {
            (program.says)(text);
        }
    }

    /// Returns whether it belongs to the process that this one was forked from: see [`Host::is_foreign`].
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    /// A new engine with its I/O thread.
    pub(crate) fn start(config: Config) -> io::Result<Arc<Self>> {
        let inbox = Inbox::new()?;
        let seed = config.seed.unwrap_or_else(sys::monotonic_nanos);
        let max_message = config.max_message;
        let config = Arc::new(config);
        let mut scheduler = Scheduler::new(seed);
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
                spare: Spare::default(),
                unreaped: 0,
                dirty: Vec::new(),
                ahead: Duration::ZERO,
                armed: None,
                draining: Vec::new(),
            }),
            inbox,
            publisher: Publisher::default(),
            max_message: AtomicUsize::new(0),
            config,
            this: Weak::clone(this),
            mark: Mark::current(),
        });
        engine.set_max_message(max_message);
        pool::start(&engine)?;
        Ok(engine)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Begins the end; see [`Scheduler::shut_down`]. In a forked child, nothing.
    pub(crate) fn shut_down(&self, grace: Duration, queued: bool, waited: bool) {
        if self.is_foreign() {
            return;
        }
        self.step(|core, now| {
            core.spare.close();
            core.scheduler.shut_down(now, grace, queued, waited);
        });
        // The I/O thread looks whether it is needed any longer.
        self.inbox.ring();
    }

    /// Ready when no call and no process is left: the calls that were given up.
    /// In a forked child none is.
    pub(crate) fn poll_drained(&self, waker: &Waker) -> Poll<Vec<(CallId, &'static str)>> {
        if self.is_foreign() {
            return Poll::Ready(Vec::new());
        }
        let mut core = self.lock();
        if core.is_drained() {
            return Poll::Ready(core.scheduler.abandoned().to_vec());
        }
        core.draining.push(waker.clone());
        Poll::Pending
    }

    /// Returns what has become of the calls of a function.
    pub(crate) fn counts(&self, function: &str) -> Counts {
        let all = self.lock().scheduler.counts();
        let found = all.into_iter().find(|(name, ..)| *name == function);
        found.map_or_else(Counts::default, |(_, counts, _)| counts)
    }

    /// Returns how many calls are executing, and how many are not.
    pub(crate) fn pending(&self) -> (usize, usize) {
        self.lock().scheduler.pending()
    }

    /// Returns the worker processes that are still there, as `worker 12 of f`.
    pub(crate) fn processes(&self) -> Vec<String> {
        self.lock().scheduler.processes().map(worker_name).collect()
    }

    /// Returns those that were killed because they had not ended when the grace of a shutdown was over.
    pub(crate) fn killed_at_shutdown(&self) -> Vec<String> {
        let core = self.lock();
        let killed = core.scheduler.killed_at_shutdown().iter().copied();
        killed.map(worker_name).collect()
    }

    /// Whether the I/O thread has nothing more to do, ever.
    pub(crate) fn is_drained(&self) -> bool {
        self.lock().is_drained()
    }

    pub(crate) fn max_message(&self) -> usize {
        self.max_message.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_message(&self, bytes: usize) {
        let bytes = bytes.clamp(64, parcel::LONGEST);
        self.max_message.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// The events from now on; in a forked child there are none.
    pub(crate) fn subscribe(&self) -> Events {
        if self.is_foreign() {
            return Events::none();
        }
        let events = self.publisher.subscribe();
        self.step(|core, _| core.scheduler.set_observed(true));
        events
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Submits calls of one function, in order.
    pub(crate) fn submit(
        &self,
        callee: &Callee,
        jobs: impl IntoIterator<Item = Job>,
        looks: Looks,
        mut submitted: impl FnMut(CallKey),
    ) -> Result<Submitted, Rejected> {
        if let Some(problem) = &self.config.invalid {
            return Err(Rejected::Configuration(problem.clone()));
        }
        if entry::worker_arguments().is_none() && !self.config.inline {
            return Err(Rejected::NotInitialised);
        }
        if depth() >= DEEPEST {
            return Err(Rejected::TooDeep { limit: DEEPEST });
        }
        self.step(|core, now| {
            let function = core.function(callee)?;
            let outer = inline::current();
            let called = callee.registration.pool().name;
            let terms = core.terms(function, callee);
            let mut last = None;
            let mut submitted = |key: CallKey| {
                last = Some(key);
                submitted(key);
            };
            for job in jobs {
                if capture::is_on() {
                    capture::called(called, job.caller);
                }
                match outer {
                    Some((worker, ticket)) if core.links.contains_key(&worker.id) => {
                        for job in job.parts() {
                            let id = core.scheduler.next_nested(worker);
                            let origin = Origin { id, worker, ticket };
                            let terms = Arc::clone(&terms);
                            let scheduler = &mut core.scheduler;
                            submitted(scheduler.submit_nested(now, function, terms, origin, job));
                        }
                    }
                    _ => {
                        let terms = Arc::clone(&terms);
                        submitted(core.scheduler.submit(now, function, terms, job));
                    }
                }
            }
            core.scheduler.dispatch(now, function);
            let ahead = core.scheduler.ahead(function);
            let most_workers = core.scheduler.most_workers(function);
            let looks = match looks {
                Looks::No => false,
                Looks::IfQuick => core.scheduler.is_quick(function),
                Looks::Yes => true,
            };
            let inlet = last.filter(|_| looks).and_then(|call| {
                let worker = core.scheduler.sent_to(call)?;
                let inlet = core.links.get(&worker.id)?.inlet()?;
                inlet.will_be_looked_after();
                Some(inlet)
            });
            Ok(Submitted {
                function,
                ahead,
                most_workers,
                inlet,
            })
        })
    }

    pub(crate) fn cancel(&self, call: CallKey) {
        self.step(|core, _| core.scheduler.cancel([call], Cancelled::ByCaller));
    }

    fn cancel_map(&self, map: &Arc<map::Shared>) {
        let of_map = |job: &Job| job.sink.is_of(map);
        self.step(|core, _| core.scheduler.cancel_where(of_map, Cancelled::ByCaller));
    }

    /// Steps the scheduler and does what it decides.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut Core, Instant) -> R) -> R {
        // A call may be dropped with the last that a thread has.
        let mut outcomes = OUTCOMES.try_with(Cell::take).unwrap_or_default();
        let mut core = self.lock();
        let now = core.now();
        let result = step(&mut core, now);
        self.settle(&mut core, now, &mut outcomes);
        while let Some(next) = core.skippable_until() {
            let ahead = next.saturating_duration_since(core.now());
            core.ahead += ahead;
            // The I/O thread waits by the clock as it was.
            core.armed = None;
            core.scheduler.tick(next, Inbound::Drained);
            self.settle(&mut core, next, &mut outcomes);
        }
        let wake = core.rearm();
        let drained = if core.draining.is_empty() || !core.is_drained() {
            Vec::new()
        } else {
            std::mem::take(&mut core.draining)
        };
        drop(core);
        if wake {
            self.inbox.ring();
        }
        delivery::deliver(&mut outcomes);
        if outcomes.capacity() <= KEPT_OUTCOMES {
            let _ = OUTCOMES.try_with(|kept| kept.set(outcomes));
        }
        for waker in drained {
            delivery::wake(waker);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        debug_assert!(
            !self.is_foreign(),
            "a forked child uses its parent's engine"
        );
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, core: &mut Core, now: Instant, outcomes: &mut Vec<(Job, Outcome)>) {
        self.perform(core, outcomes);
        while core.scheduler.settle(now) {
            self.perform(core, outcomes);
        }
    }

    fn perform(&self, core: &mut Core, outcomes: &mut Vec<(Job, Outcome)>) {
        loop {
            let Some(action) = core.scheduler.next_action() else {
                if core.dirty.is_empty() {
                    return;
                }
                core.flush_dirty();
                continue;
            };
            match action {
                Action::Spawn { worker } => {
                    if let (Some((function, policy)), Some(engine)) =
                        (core.scheduler.function_of(worker), self.this.upgrade())
                    {
                        let request = Request {
                            engine,
                            worker,
                            function: policy.name,
                            config: core.pools[function.place()].config.clone(),
                            slots: policy.at_once,
                            memory: policy.memory,
                            fails: faults::start_fails(policy.name),
                        };
                        if self.config.inline {
                            inline::start(core, request);
                        } else if let Some(request) = pool::hire(core, request)
                            && let Err(error) = pool::request_worker(request)
                        {
                            core.abandon(core.now(), worker, &error);
                        }
                    }
                }
                Action::Send {
                    worker,
                    ticket,
                    call,
                    attempt,
                } => core.send(worker, ticket, call, attempt),
                Action::Recall { worker } => {
                    let last = core.scheduler.last_ticket(worker);
                    let Some(link) = core.links.get_mut(&worker.id) else {
                        continue;
                    };
                    let now = Instant::now() + core.ahead;
                    match link.recall(last) {
                        Some(claimed) => core.scheduler.recalled(now, worker, claimed),
                        None => core
                            .scheduler
                            .broken(worker, "it claimed a ticket that was never sent".into()),
                    }
                }
                Action::Probe { worker } => {
                    if let Some(link) = core.links.get(&worker.id) {
                        let mut progress = link.progress();
                        for one in &mut progress.executing {
                            one.since = one.since.map(|since| since + core.ahead);
                        }
                        core.scheduler.probed(core.now(), worker, &progress);
                    }
                }
                Action::Measure { worker } => {
                    if let Some(link) = core.links.get(&worker.id) {
                        let bytes = link.memory();
                        core.scheduler.measured(core.now(), worker, bytes);
                    }
                }
                Action::Ask { worker, ticket } => core.tell(worker, Order::Ask, ticket),
                Action::Abort { worker, ticket } => core.tell(worker, Order::Abort, ticket),
                Action::Terminate { worker } => {
                    if let Some(link) = core.links.get(&worker.id) {
                        link.terminate();
                    }
                }
                Action::Kill { worker } => {
                    let link = core.links.get_mut(&worker.id);
                    if let Some(remains) = link.and_then(|link| link.kill()) {
                        core.links.remove(&worker.id);
                        core.scheduler.exited(core.now(), worker, remains);
                    }
                }
                Action::Retire { worker } => {
                    if let Some(link) = core.links.get_mut(&worker.id) {
                        link.retire();
                    }
                }
                Action::Resolve { payload, outcome } => outcomes.push((payload, outcome)),
                Action::Publish(event) => {
                    self.publisher.publish(&event);
                    if !self.publisher.is_observed() {
                        core.scheduler.set_observed(false);
                    }
                }
            }
        }
    }
}

impl Core {
    /// The pool of workers that run what is called.
    pub(crate) fn function(&mut self, callee: &Callee) -> Result<FunctionKey, Rejected> {
        let registration = callee.registration;
        let spec = registration.pool();
        let name = (spec.name, callee.config.clone());
        if let Some(known) = self.functions.get(&name) {
            return known.clone();
        }
        let known = match registry::find(registration.spec.name) {
            Err(NotFound::Duplicate(places)) => Err(Rejected::DuplicateName {
                places: places.into(),
            }),
            // The stub itself proves that the function is there.
            Ok(_) | Err(NotFound::Missing(_)) => {
                self.forget_configurations();
                let given = &self.config;
                let key = self.scheduler.add_function(FunctionPolicy {
                    name: spec.name,
                    max_workers: given
                        .max_workers
                        .or(spec.max_workers)
                        .unwrap_or_else(pool::parallelism),
                    min_workers: given.min_workers.unwrap_or(spec.min_workers),
                    startup_timeout: given.startup_timeout.unwrap_or(spec.startup_timeout),
                    scaledown_window: given.scaledown_window.unwrap_or(spec.scaledown_window),
                    max_calls_per_worker: spec.max_calls_per_worker,
                    at_once: spec.at_once(),
                    separable: spec.concurrency > 1,
                    grace: spec.grace,
                    memory: spec.memory,
                    crash_limit: spec.crash_limit,
                });
                let pool = Pool {
                    config: callee.config.clone(),
                    terms: None,
                };
                match self.pools.get_mut(key.place()) {
                    Some(unused) => *unused = pool,
                    None => self.pools.push(pool),
                }
                Ok(key)
            }
        };
        self.functions.insert(name, known.clone());
        known
    }

    /// Forgets the configurations of services that are not used any more, each time there are twice as
    /// many functions as were left the last time.
    fn forget_configurations(&mut self) {
        if self.functions.len() < self.configurations {
            return;
        }
        let now = self.now();
        let scheduler = &mut self.scheduler;
        self.functions.retain(|(_, config), known| {
            let unused = |key: &FunctionKey| scheduler.remove_if_unused(now, *key);
            config.is_none() || !known.as_ref().is_ok_and(unused)
        });
        self.configurations = SWEEP_FROM.max(2 * self.functions.len());
    }

    /// What holds for calls of a pool.
    pub(crate) fn terms(&mut self, function: FunctionKey, callee: &Callee) -> Arc<Terms> {
        let terms = Terms {
            name: callee.registration.spec.name,
            policy: callee.policy,
            budget: callee.budget.clone(),
        };
        // A budget is to live no longer than the calls that share it.
        if terms.budget.is_some() {
            return Arc::new(terms);
        }
        let last = &mut self.pools[function.place()].terms;
        match last {
            Some(last) if last.is_same(&terms) => Arc::clone(last),
            _ => Arc::clone(last.insert(Arc::new(terms))),
        }
    }

    /// What time it is for the scheduler.
    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// Returns how much further than the real clock the scheduler's is.
    pub(crate) fn ahead(&self) -> Duration {
        self.ahead
    }

    /// The time of the next timer, if a test does not want to wait for it and nothing else is
    /// going on.
    fn skippable_until(&self) -> Option<Instant> {
        if faults::is_clock_paused() && self.scheduler.only_waits() {
            self.scheduler.next_timer()
        } else {
            None
        }
    }

    fn send(&mut self, worker: WorkerKey, ticket: u64, call: CallKey, attempt: u32) {
        let (Some(link), Some((terms, job))) =
            (self.links.get_mut(&worker.id), self.scheduler.payload(call))
        else {
            return;
        };
        let mut header = CallHeader {
            order: Order::Run,
            count: 1,
            length: 0,
            attempt,
            timed: terms.policy.timeout.is_some(),
            ticket,
            call: call.id.0,
            index: job.index,
            method: job.method,
            fault: 0,
        };
        let mut send = |header: &mut CallHeader, input: &Bytes| {
            header.length = u32::try_from(input.len()).expect("the limit is below 4 GiB");
            if link.send(header, input) {
                self.dirty.push(worker);
            }
        };
        match &job.input {
            // A fault is one input's.
            Parcel::Several(inputs) if faults::are_planned() => {
                for input in inputs.clone() {
                    header.fault = faults::pick(terms.name, attempt, header.index);
                    send(&mut header, &input);
                    header.follow();
                }
            }
            Parcel::Several(inputs) => {
                header.count = inputs.len();
                send(&mut header, inputs.bytes());
            }
            Parcel::One(input) => {
                header.fault = faults::pick(terms.name, attempt, job.index);
                send(&mut header, input);
            }
        }
    }

    /// Tells a worker about what it is executing. A function that does not yield sees it without
    /// a message, an async one is woken by it.
    fn tell(&mut self, worker: WorkerKey, order: Order, ticket: u64) {
        let Some(link) = self.links.get_mut(&worker.id) else {
            return;
        };
        link.ask(ticket);
        let header = CallHeader {
            order,
            ticket,
            ..CallHeader::default()
        };
        if link.send(&header, &Bytes::new()) {
            self.dirty.push(worker);
        }
    }

    fn flush_dirty(&mut self) {
        while let Some(worker) = self.dirty.pop() {
            self.flush(worker);
        }
    }

    /// Goes on sending to a worker; whether anything was sent.
    pub(crate) fn flush(&mut self, worker: WorkerKey) -> bool {
        let Some(link) = self.links.get_mut(&worker.id) else {
            return false;
        };
        link.flush().unwrap_or_else(|corrupt| {
            self.scheduler.broken(worker, corrupt.to_string().into());
            false
        })
    }

    /// A worker exists.
    pub(crate) fn adopt(
        &mut self,
        now: Instant,
        key: WorkerKey,
        pid: u32,
        mut link: Box<dyn Link>,
    ) {
        self.scheduler.spawned(now, key, pid);
        // It may have been given up while it was being started.
        if !self.scheduler.is_wanted(key) {
            link.kill();
        }
        self.links.insert(key.id, link);
        self.wake_early();
    }

    fn wake_early(&mut self) {
        self.early.drain(..).for_each(|thread| thread.unpark());
    }

    pub(crate) fn abandon(&mut self, now: Instant, key: WorkerKey, error: &io::Error) {
        let (reason, scarce) = (error.to_string(), sys::is_for_want_of_resources(error));
        self.scheduler.spawn_failed(now, key, reason.into(), scarce);
        self.wake_early();
    }

    /// Where this thread may sleep that waits for the answer to a call.
    fn place_for(&mut self, call: Option<CallKey>) -> Place {
        let Some(call) = call else {
            return Place::Nowhere;
        };
        let [worker] = self.scheduler.workers_for(call) else {
            return Place::Nowhere;
        };
        if let Some(link) = self.links.get(&worker.id) {
            return link.inlet().map_or(Place::Nowhere, Place::At);
        }
        let thread = thread::current();
        let known = self.early.iter().any(|other| other.id() == thread.id());
        if !known {
            if self.early.len() >= ATTENDED {
                return Place::Nowhere;
            }
            self.early.push(thread);
        }
        Place::Soon
    }

    /// Where answers will arrive, as far as that can be looked after.
    fn inlets(&self, answers: Answers) -> Vec<Arc<Inlet>> {
        let workers = match answers {
            Answers::Of(function) => self.scheduler.workers_of(function),
            Answers::To(Some(call)) => self.scheduler.workers_for(call),
            Answers::To(None) => &[],
        };
        let inlet = |worker: &WorkerKey| self.links.get(&worker.id)?.inlet();
        workers.iter().take(ATTENDED).filter_map(inlet).collect()
    }

    /// Whether no call and no process is left, and none will come.
    fn is_drained(&self) -> bool {
        self.scheduler.is_drained() && self.spare.is_gone() && self.unreaped == 0
    }

    /// Forgets the sending side of a worker that has ended; its pid may now be reused.
    pub(crate) fn unlink(&mut self, key: WorkerKey) {
        self.links.remove(&key.id);
    }

    /// Whether the I/O thread has to wake up earlier than it means to.
    fn rearm(&mut self) -> bool {
        match (self.scheduler.next_timer(), self.armed) {
            (Some(next), armed) if armed.is_none_or(|armed| next < armed) => {
                self.armed = Some(next);
                true
            }
            _ => false,
        }
    }

    /// Called by the I/O thread before it waits: until when.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.scheduler.next_timer();
        self.armed.and_then(|at| at.checked_sub(self.ahead))
    }

    pub(crate) fn handshake_failed(&mut self, key: WorkerKey, reason: String) {
        self.scheduler
            .failed_to_start(key, Startup::Handshake(reason.into()));
    }
}

fn worker_name((pid, function): (Option<u32>, &'static str)) -> String {
    let function = short_name(function);
    match pid {
        Some(pid) => format!("worker {pid} of {function}"),
        None => format!("a worker of {function}"),
    }
}

/// How deeply the calls of this process are nested: 0 outside of workers.
pub(crate) fn depth() -> u32 {
    static DEPTH: PerProcess<u32> = PerProcess::new();
    *DEPTH.get_or_init(|| {
        std::env::var(DEPTH_VARIABLE)
            .ok()
            .and_then(|depth| depth.parse().ok())
            .unwrap_or(0)
    })
}

/// An outcome for a call that never got as far as the scheduler.
pub(crate) fn rejected(rejected: Rejected) -> Outcome {
    failed(Failure::Rejected(rejected))
}

/// An outcome of which the scheduler does not know.
pub(crate) fn failed(failure: Failure) -> Outcome {
    Outcome {
        call: CallId(0),
        result: Err(failure),
        history: None,
    }
}
