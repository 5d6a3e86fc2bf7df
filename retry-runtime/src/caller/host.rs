//! Routes calls to their scheduler: the local engine, the parent of this worker, or the fleet, which sends them to
//! other machines.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::agent::scheme;
use crate::api::call_id::{CallId, CallNumber};
use crate::api::events::{Events, Publisher};
use crate::api::failure::Rejected;
use crate::api::options::Options;
use crate::api::run::RunId;
use crate::caller::refused;
use crate::child::nested::Upstream;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::function::callee::Callee;
use crate::function::registry::Registration;
#[cfg(feature = "report")]
use crate::function::registry::descriptions;
use crate::function::service_config::ServiceConfig;
use crate::inline::Inline;
use crate::job::Job;
use crate::job::caller::Caller;
use crate::job::delivery::Deliver;
use crate::job::outcome::CallKey;
use crate::local::{LocalEngine, PollIntent, Submitted, WaitTarget};
use crate::observe::feed::Feed;
use crate::observe::files::Unwritable;
#[cfg(feature = "report")]
use crate::observe::report;
use crate::observe::{trace, writer};
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
use crate::process::Processes;
use crate::scheduler::statistics::Statistics;
use crate::scheduler::{Counts, FunctionKey, FunctionReading};
use crate::shared::StagingPool;
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
use crate::sys;
use crate::sys::PerProcess;
use crate::wait::spin::{self, Spin};
use crate::wait::{AnswerSource, Waiter, is_over};

static GLOBAL: PerProcess<Arc<LocalEngine>> = PerProcess::new();

/// The calls to other machines that name no other runtime.
static FLEET: PerProcess<Arc<Fleet>> = PerProcess::new();

static STARTING: PerProcess<Mutex<()>> = PerProcess::new();

/// The settings of the default engine, if the program has given it any. A forked child's engine has the same.
static DEFAULT: OnceLock<Config> = OnceLock::new();

/// Gives the default engine settings. Returns `false` if it has some already or has been started.
pub(crate) fn configure(config: Config) -> bool {
    let is_started = global_if_started().is_some() || FLEET.get().is_some();
    !is_started && DEFAULT.set(config).is_ok()
}

/// Returns the settings of the default engine.
pub(crate) fn configuration() -> Config {
    DEFAULT
        .get()
        .map_or_else(Config::from_environment, Clone::clone)
}

/// Returns the engine of the calls of this process that name no other runtime.
///
/// # Errors
///
/// If the operating system has no thread, descriptor or memory left for it. The next call tries
/// again.
pub(crate) fn global() -> io::Result<&'static Arc<LocalEngine>> {
    if let Some(engine) = global_if_started() {
        return Ok(engine);
    }
    let starting = STARTING.get_or_init(|| Mutex::new(()));
    let _one_at_a_time = starting.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(engine) = global_if_started() {
        return Ok(engine);
    }
    let engine = start(configuration())?;
    if engine.config().address.is_none() {
        LocalEngine::call_start_hook(&|subscriber| engine.observe(subscriber));
    }
    Ok(GLOBAL.get_or_init(|| engine))
}

/// Returns the engine where there is no call that could return an error.
///
/// # Panics
///
/// If the operating system has no thread, descriptor or memory left for it.
pub(crate) fn expect_global() -> &'static Arc<LocalEngine> {
    global().expect("threads and descriptors to start the runtime with")
}

/// Returns the default engine if there has been a call in this process already.
pub(crate) fn global_if_started() -> Option<&'static Arc<LocalEngine>> {
    GLOBAL.get()
}

/// Returns the calls of this process that name no other runtime and go to other machines.
///
/// # Errors
///
/// If the settings name no engine that can be used, or the operating system has no thread left.
fn global_fleet(config: Config) -> io::Result<Arc<Fleet>> {
    let starting = STARTING.get_or_init(|| Mutex::new(()));
    let _one_at_a_time = starting.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(fleet) = FLEET.get() {
        return Ok(Arc::clone(fleet));
    }
    let fleet = start_fleet(config)?;
    LocalEngine::call_start_hook(&|subscriber| fleet.observe(subscriber));
    Ok(Arc::clone(FLEET.get_or_init(|| fleet)))
}

/// Starts an engine, with worker processes unless the configuration asks for inline workers.
///
/// # Errors
///
/// If the operating system has no thread, descriptor or memory left for it.
pub(crate) fn start(config: Config) -> io::Result<Arc<LocalEngine>> {
    if !config.spin {
        spin::enable(false);
    }
    let feeds = files(&config)?;
    let engine = match config.inline {
        true => LocalEngine::start(config, Box::new(Inline::new()))?,
        false => start_with_processes(config)?,
    };
    for feed in feeds {
        engine.observe(feed);
    }
    Ok(engine)
}

/// Connects the engine at the address in the settings.
///
/// # Errors
///
/// If there is no such engine, its address is wrong, or the operating system has no thread left.
pub(crate) fn start_fleet(config: Config) -> io::Result<Arc<Fleet>> {
    let address = config.address.as_deref().unwrap_or_default();
    let engine = scheme::connect(address)
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
    let feeds = files(&config)?;
    let fleet = Fleet::start(config, engine)?;
    for feed in feeds {
        fleet.observe(feed);
    }
    Ok(fleet)
}

/// Opens the files that an engine with these settings writes.
fn files(config: &Config) -> io::Result<Vec<Arc<Feed>>> {
    let mut feeds = Vec::new();
    if let Some(path) = &config.events {
        feeds.push(writer::at(path)?);
    }
    #[cfg(feature = "report")]
    if let Some(path) = &config.report {
        let settings = || config.list("runtime", &descriptions());
        feeds.extend(report::at(path, settings)?);
    }
    if let Some(path) = &config.trace {
        feeds.extend(trace::at(path)?);
    }
    Ok(feeds)
}

#[cfg(all(target_os = "linux", not(retry_no_processes)))]
fn start_with_processes(config: Config) -> io::Result<Arc<LocalEngine>> {
    let processes = Processes::new(config.retained_memory)?;
    LocalEngine::start(config, Box::new(processes))
}

/// Starts an engine with inline workers, and says once that there are no others.
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
fn start_with_processes(config: Config) -> io::Result<Arc<LocalEngine>> {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        sys::complain(format_args!(
            "retry-runtime: worker processes need Linux, so functions run on threads of this program: a crash \
             ends it, and a timeout does not stop its function; RETRY_ENGINE=inline hides this message\n"
        ));
    });
    LocalEngine::start(
        Config {
            inline: true,
            ..config
        },
        Box::new(Inline::new()),
    )
}

/// Returns why calls are refused if their engine did not start, for this reason unless it is that of a setting.
fn refusal(error: &io::Error, other: fn(Box<str>) -> Rejected) -> Rejected {
    let is_setting = error
        .get_ref()
        .is_some_and(|error| error.is::<Unwritable>());
    let refuse = if is_setting {
        Rejected::Configuration
    } else {
        other
    };
    refuse(error.to_string().into())
}

/// The scheduler of the calls of this process: the local engine, the parent of this worker, or the fleet.
#[derive(Clone)]
pub(crate) enum Host {
    Here(Arc<LocalEngine>),
    Parent(&'static Upstream),
    Fleet(Arc<Fleet>),
    /// No engine could be started, for this reason.
    Nowhere(Rejected),
}

impl Host {
    /// Returns the host of calls that name no other runtime.
    pub(crate) fn global() -> Self {
        match Upstream::get() {
            Some(upstream) => Self::Parent(upstream),
            None => Self::global_if_started().unwrap_or_else(Self::start_global),
        }
    }

    /// Returns the host of calls that name no other runtime if there has been one.
    pub(crate) fn global_if_started() -> Option<Self> {
        let fleet = FLEET.get().map(|fleet| Self::Fleet(Arc::clone(fleet)));
        fleet.or_else(|| {
            // An agent has a local engine, which is not that of its own calls.
            let engine = global_if_started().filter(|engine| engine.config().address.is_none());
            engine.map(|engine| Self::Here(Arc::clone(engine)))
        })
    }

    #[cold]
    fn start_global() -> Self {
        let config = configuration();
        if config.address.is_some() {
            return Self::connect(global_fleet(config));
        }
        match global() {
            Ok(engine) => Self::Here(Arc::clone(engine)),
            Err(error) => Self::Nowhere(refusal(&error, Rejected::NoResources)),
        }
    }

    fn connect(fleet: io::Result<Arc<Fleet>>) -> Self {
        match fleet {
            Ok(fleet) => Self::Fleet(fleet),
            Err(error) => Self::Nowhere(refusal(&error, Rejected::Engine)),
        }
    }

    /// Returns whether this process was forked from the one that the calls are made in. The state of that
    /// process must not be used: its threads do not exist here, its locks may be held for ever, and its
    /// sockets and rings are shared with it.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        match self {
            Self::Here(engine) => engine.is_foreign(),
            Self::Parent(upstream) => upstream.is_foreign(),
            Self::Fleet(fleet) => fleet.is_foreign(),
            Self::Nowhere(_) => false,
        }
    }

    /// Returns the run that calls made here belong to. In a forked child those of its parent keep their run.
    #[inline]
    pub(crate) fn run(&self) -> RunId {
        match self {
            Self::Here(engine) => engine.run(),
            Self::Parent(upstream) => upstream.run(),
            Self::Fleet(fleet) => fleet.run(),
            Self::Nowhere(_) => RunId::current(),
        }
    }

    /// Returns whether this is the host of calls that name no other runtime, whose progress a program shows.
    pub(crate) fn is_global(&self) -> bool {
        match (self, global_if_started(), FLEET.get()) {
            (Self::Here(engine), Some(global), _) => Arc::ptr_eq(engine, global),
            (Self::Fleet(fleet), _, Some(global)) => Arc::ptr_eq(fleet, global),
            _ => false,
        }
    }

    /// Subscribes to the events from now on.
    ///
    /// # Panics
    ///
    /// Without a host of its own, if the operating system has no thread, descriptor or memory left for one.
    pub(crate) fn subscribe(&self) -> Events {
        match self {
            Self::Here(engine) => engine.subscribe(),
            Self::Fleet(fleet) => fleet.subscribe(),
            Self::Parent(_) | Self::Nowhere(_) => expect_global().subscribe(),
        }
    }

    /// Returns the counts of a function, as far as they are known here.
    pub(crate) fn counts(&self, function: &str) -> Counts {
        let mut counts = match self {
            Self::Here(engine) => engine.counts(function),
            Self::Fleet(fleet) => fleet.counts(function),
            Self::Parent(_) | Self::Nowhere(_) => Counts::default(),
        };
        if self.is_global() {
            refused::add_to(function, &mut counts);
        }
        counts
    }

    /// Begins the shutdown. New calls are rejected; calls that are not executing are cancelled at once unless
    /// `runs_queued` is set; all others have `grace` to end. Does nothing in a worker.
    pub(crate) fn shut_down(&self, grace: Duration, runs_queued: bool) {
        match self {
            Self::Here(engine) => engine.shut_down(grace, runs_queued, true),
            Self::Fleet(fleet) => fleet.shut_down(grace, runs_queued),
            Self::Parent(_) | Self::Nowhere(_) => {}
        }
    }

    /// Polls for the end of the shutdown. Ready with the calls that it gave up.
    pub(crate) fn poll_drained(&self, waker: &Waker) -> Poll<Vec<(CallNumber, &'static str)>> {
        match self {
            Self::Here(engine) => engine.poll_drained(waker),
            Self::Fleet(fleet) => fleet.poll_drained(waker),
            Self::Parent(_) | Self::Nowhere(_) => Poll::Ready(Vec::new()),
        }
    }

    /// Returns the calls that go on although the shutdown does not wait for them.
    pub(crate) fn left(&self) -> Vec<(CallNumber, &'static str)> {
        match self {
            Self::Fleet(fleet) => fleet.left(),
            Self::Here(_) | Self::Parent(_) | Self::Nowhere(_) => Vec::new(),
        }
    }

    /// Returns whether the shutdown has ended.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Here(engine) => engine.is_drained(),
            Self::Fleet(fleet) => fleet.is_drained(),
            Self::Parent(_) | Self::Nowhere(_) => true,
        }
    }

    /// Returns how many calls are executing, and how many are not.
    pub(crate) fn pending(&self) -> (usize, usize) {
        match self {
            Self::Here(engine) => engine.pending(),
            Self::Fleet(fleet) => fleet.pending(),
            Self::Parent(_) | Self::Nowhere(_) => (0, 0),
        }
    }

    /// Reads the calls of each function, and the time until the next retry if all calls wait for theirs.
    pub(crate) fn read(&self) -> (Vec<FunctionReading>, Option<Duration>) {
        let (mut readings, retry) = match self {
            Self::Here(engine) => engine.step(|core, now| {
                let scheduler = &core.scheduler;
                let next = scheduler.only_waits().then(|| scheduler.next_retry());
                let retry = next
                    .flatten()
                    .map(|next| next.saturating_duration_since(now));
                (scheduler.read(), retry)
            }),
            Self::Fleet(fleet) => (fleet.read(), None),
            Self::Parent(_) | Self::Nowhere(_) => (Vec::new(), None),
        };
        if self.is_global() {
            refused::add_to_all(&mut readings);
        }
        (readings, retry)
    }

    /// Returns the publisher of the events of calls that are made here.
    pub(super) fn publisher(&self) -> Option<&Publisher> {
        match self {
            Self::Here(engine) => Some(engine.publisher()),
            Self::Fleet(fleet) => Some(fleet.publisher()),
            Self::Parent(_) | Self::Nowhere(_) => None,
        }
    }

    /// Returns times and workers of each function, as far as they are known here.
    pub(crate) fn statistics(&self) -> BTreeMap<&'static str, Statistics> {
        let engine = self.local();
        engine.map_or_else(BTreeMap::new, |engine| {
            engine.step(|core, _| core.scheduler.statistics())
        })
    }

    /// Returns the engine of this process, if the calls are scheduled here.
    pub(crate) fn local(&self) -> Option<&Arc<LocalEngine>> {
        match self {
            Self::Here(engine) => Some(engine),
            Self::Parent(_) | Self::Fleet(_) | Self::Nowhere(_) => None,
        }
    }

    /// Returns the options that apply where neither attribute nor call site sets them.
    pub(crate) fn options(&self) -> Options {
        match self {
            Self::Here(engine) => engine.config().options,
            Self::Parent(upstream) => upstream.options(),
            Self::Fleet(fleet) => fleet.config().options,
            Self::Nowhere(_) => configuration().options,
        }
    }

    /// Returns whether the future of a call may block its thread for a moment.
    pub(crate) fn busy_polls(&self) -> bool {
        match self {
            Self::Here(engine) => engine.config().busy_poll,
            Self::Parent(_) | Self::Fleet(_) | Self::Nowhere(_) => false,
        }
    }

    /// Returns the memory in which large arguments of calls are staged, if they can be.
    pub(crate) fn staging(&self) -> Option<Arc<StagingPool>> {
        match self {
            Self::Here(engine) => engine.staging().cloned(),
            Self::Parent(_) | Self::Fleet(_) | Self::Nowhere(_) => None,
        }
    }

    /// Returns the size in bytes of the largest input of a function, or of a service with this configuration.
    pub(crate) fn max_message(&self, config: Option<&ServiceConfig>) -> usize {
        match self {
            Self::Here(engine) => engine.max_message(),
            Self::Parent(upstream) => upstream.max_message(),
            Self::Fleet(fleet) => fleet.max_message(config),
            Self::Nowhere(_) => configuration().max_message,
        }
    }

    /// Sets the limit of calls from now on. In a worker that of its parent holds.
    pub(crate) fn set_max_message(&self, bytes: usize) {
        match self {
            Self::Here(engine) => engine.set_max_message(bytes),
            Self::Fleet(fleet) => fleet.set_max_message(bytes),
            Self::Nowhere(_) => expect_global().set_max_message(bytes),
            Self::Parent(_) => {}
        }
    }

    /// Begins to wait for a call that was spawned before, here or in another program.
    pub(crate) fn attach(
        &self,
        registration: &'static Registration,
        call: CallId,
        job: Job,
    ) -> Result<CallKey, Rejected> {
        if self.is_foreign() {
            return Err(Rejected::Forked);
        }
        match self {
            Self::Fleet(fleet) => fleet.attach(registration, call, job),
            Self::Here(_) | Self::Parent(_) => {
                let reason = "only calls that go to other machines (RETRY_ENGINE) can be attached to: those of this \
                              machine end with their program";
                Err(Rejected::Engine(reason.into()))
            }
            Self::Nowhere(reason) => Err(reason.clone()),
        }
    }

    /// Submits a call or the inputs of a chunk. Returns the key of the last one, and facts about the function unless
    /// the parent of this worker schedules it.
    pub(crate) fn submit(
        &self,
        callee: &Callee,
        job: Job,
        intent: PollIntent,
    ) -> Result<(CallKey, Option<Submitted>), Rejected> {
        if self.is_foreign() {
            return Err(Rejected::Forked);
        }
        match self {
            Self::Here(engine) => {
                let (key, submitted) = engine.submit(callee, job, intent)?;
                Ok((key, Some(submitted)))
            }
            Self::Parent(upstream) => Ok((upstream.submit(callee, job)?, None)),
            Self::Fleet(fleet) => {
                let (key, submitted) = fleet.submit(callee, job)?;
                Ok((key, Some(submitted)))
            }
            Self::Nowhere(reason) => Err(reason.clone()),
        }
    }

    /// Lets another thread poll for the answers of a worker.
    pub(crate) fn hand_over(&self, source: Arc<dyn AnswerSource>) {
        if let Self::Here(engine) = self {
            engine.hand_over(source);
        }
    }

    /// Returns the running time, which stands still while the program is suspended. In a worker, and for
    /// calls to other machines, it is the real time.
    pub(crate) fn running_time(&self) -> Instant {
        match self {
            Self::Here(engine) if !engine.is_foreign() => engine.running_time(),
            _ => Instant::now(),
        }
    }

    /// Returns the real time at a time of [`running_time`](Self::running_time).
    pub(crate) fn real(&self, running: Instant) -> Instant {
        match self {
            Self::Here(engine) if !engine.is_foreign() => engine.real(running),
            _ => running,
        }
    }

    /// Polls for the answers of one worker, then parks there until the thread is woken or the time has come.
    pub(crate) fn park_at(
        &self,
        source: &Arc<dyn AnswerSource>,
        until: Instant,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) {
        if let Self::Here(engine) = self {
            engine.park_at(source, Some(until), waiter, spin);
        }
    }

    /// Polls for answers until the thread is woken, the time has come or the patience is over.
    pub(crate) fn poll_until(
        &self,
        target: WaitTarget,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) {
        let mut is_over = || is_over(waiter, until);
        match self {
            Self::Here(engine) => engine.poll_answers(target, spin, &mut is_over),
            Self::Parent(_) | Self::Fleet(_) | Self::Nowhere(_) => {
                spin.look_until(&mut is_over);
            }
        }
    }

    /// Polls for the answer to a call, then parks at the worker that has the call, if possible, until the
    /// thread is woken or the time has come. Begins at `source`, which this thread has announced to poll.
    pub(crate) fn park(
        &self,
        call: Option<CallKey>,
        source: Option<Arc<dyn AnswerSource>>,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) {
        match self {
            Self::Here(engine) => engine.park(call, source, until, waiter, spin),
            Self::Parent(_) | Self::Fleet(_) | Self::Nowhere(_) => {
                self.poll_until(WaitTarget::To(call), until, waiter, spin);
            }
        }
    }

    /// Returns how many bytes of a map's results may wait for their consumer.
    pub(crate) fn max_buffered(&self) -> usize {
        match self {
            Self::Here(engine) => engine.config().max_buffered,
            Self::Parent(upstream) => upstream.max_buffered(),
            Self::Fleet(fleet) => fleet.config().max_buffered,
            Self::Nowhere(_) => usize::MAX,
        }
    }

    /// Holds inputs of a map back, or releases them, according to `held` at that moment. Does nothing in a
    /// forked child.
    pub(crate) fn hold(&self, caller: Caller, held: impl FnOnce() -> Option<Option<u64>>) {
        match self {
            _ if self.is_foreign() => {}
            // Evaluated under the lock, so that the last step carries the current state.
            Self::Here(engine) => engine.step(|core, _| core.scheduler.hold(caller, held())),
            Self::Parent(upstream) => upstream.hold(caller, held),
            Self::Fleet(fleet) => fleet.hold(caller, held),
            Self::Nowhere(_) => {}
        }
    }

    /// Returns whether a worker of a function is ready, if that is known here.
    pub(crate) fn is_served(&self, function: FunctionKey) -> bool {
        match self {
            _ if self.is_foreign() => false,
            Self::Here(engine) => engine.lock().scheduler.is_served(function),
            Self::Parent(_) | Self::Fleet(_) | Self::Nowhere(_) => false,
        }
    }

    /// Cancels a call. Does nothing in a forked child.
    pub(crate) fn cancel(&self, call: CallKey) {
        match self {
            _ if self.is_foreign() => {}
            Self::Here(engine) => engine.cancel(call),
            Self::Parent(upstream) => upstream.cancel(call),
            Self::Fleet(fleet) => fleet.cancel(call.id),
            Self::Nowhere(_) => {}
        }
    }

    /// Cancels the calls whose outcomes go to a target. Does nothing in a forked child.
    pub(crate) fn cancel_all(&self, target: &Arc<dyn Deliver>) {
        match self {
            _ if self.is_foreign() => {}
            Self::Here(engine) => engine.cancel_all(target),
            Self::Parent(upstream) => upstream.cancel_all(target),
            Self::Fleet(fleet) => fleet.cancel_all(target),
            Self::Nowhere(_) => {}
        }
    }
}
