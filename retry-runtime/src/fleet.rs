//! The caller's half of an engine: sends the calls of this process to other machines.
//!
//! [`Tasks`] decides, and this shell carries its decisions out in their order, one at a time. Replies of the engine
//! may arrive on any thread, also during a request to it.

mod sizing;
pub(crate) mod tasks;

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::call_id::{CallId, CallNumber};
use crate::api::engine::{Engine, Found, Reply, TaskNews};
use crate::api::events::{Events, Publisher, Subscriber};
use crate::api::failure::Rejected;
use crate::api::run::RunId;
use crate::codec::payload;
use crate::config::Config;
use crate::function::callee::Callee;
use crate::function::registry::{self, Fnv, Registration};
use crate::function::service_config::ServiceConfig;
use crate::job::Job;
use crate::job::caller::Caller;
use crate::job::delivery::{self, Deliver};
use crate::job::outcome::{CallKey, Outcome};
use crate::local::{Submitted, numbers};
use crate::scheduler::{Counts, FunctionReading};
use crate::sys::{Mark, PerProcess};
use tasks::{Action, Settings, Tasks};

/// The calls of this process that go to one engine.
pub(crate) struct Fleet {
    engine: Arc<dyn Engine>,
    config: Config,
    max_body: usize,
    max_message: AtomicUsize,
    publisher: Publisher,
    state: Mutex<State>,
    /// Tells the thread that waits for timers of an earlier one.
    changed: Condvar,
    this: Weak<Self>,
    run: RunId,
    mark: Mark,
}

struct State {
    tasks: Tasks,
    /// Set while a thread carries decisions out.
    is_acting: bool,
    /// The time until which the thread for timers waits.
    armed: Option<Instant>,
    draining: Vec<Waker>,
    /// Set once nothing refers to the fleet any more.
    is_dropped: bool,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Fleet {
    /// Starts to send calls through an engine.
    ///
    /// # Errors
    ///
    /// If the program's file cannot be read, or the operating system has no thread left.
    pub(crate) fn start(config: Config, engine: Arc<dyn Engine>) -> io::Result<Arc<Self>> {
        let run = RunId::current();
        let max_body = engine.max_body();
        let settings = Settings {
            run,
            version: version(&config)?,
            host_timeout: config.host_timeout,
            startup_timeout: config.startup_timeout,
            max_body,
        };
        let fleet = Arc::new_cyclic(|this| Self {
            engine,
            max_message: AtomicUsize::new(config.max_message),
            config,
            max_body,
            publisher: Publisher::default(),
            state: Mutex::new(State {
                tasks: Tasks::new(settings, numbers()),
                is_acting: false,
                armed: None,
                draining: Vec::new(),
                is_dropped: false,
            }),
            changed: Condvar::new(),
            this: Weak::clone(this),
            run,
            mark: Mark::current(),
        });
        let timers = Arc::clone(&fleet);
        thread::Builder::new()
            .name("retry-fleet".to_owned())
            .spawn(move || timers.run_timers())?;
        Ok(fleet)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the run that its calls belong to.
    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    /// Returns whether this process was forked from the one that the fleet belongs to.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    /// Returns the size in bytes of the largest input of a function, or of a service with this configuration, which
    /// travels with it.
    pub(crate) fn max_message(&self, config: Option<&ServiceConfig>) -> usize {
        let most = self.max_body - self.max_body / ENVELOPE;
        let most = most.saturating_sub(config.map_or(0, |config| config.len()));
        self.max_message.load(Ordering::Relaxed).min(most)
    }

    pub(crate) fn set_max_message(&self, bytes: usize) {
        let bytes = payload::possible_limit(bytes);
        self.max_message.store(bytes, Ordering::Relaxed);
    }

    /// Submits calls of one function, in order.
    pub(crate) fn submit(
        &self,
        callee: &Callee,
        job: Job,
    ) -> Result<(CallKey, Submitted), Rejected> {
        if let Some(problem) = &self.config.invalid {
            return Err(Rejected::Configuration(problem.clone()));
        }
        let pool = (callee.registration.pool().name, callee.config.clone());
        let (call, (inputs, tasks)) = self.step(|tasks, now| {
            let call = tasks.submit(now, callee, job);
            tasks.dispatch(now, &pool);
            (call, tasks.ahead(&pool))
        });
        let submitted = Submitted {
            function: None,
            ahead: inputs.saturating_mul(tasks),
            most_workers: tasks,
            source: None,
        };
        Ok((CallKey::nested(call), submitted))
    }

    /// Subscribes to the events from now on; in a forked child there are none.
    pub(crate) fn subscribe(&self) -> Events {
        if self.is_foreign() {
            return Events::none();
        }
        let events = self.publisher.subscribe();
        self.step(|tasks, _| tasks.set_interest(self.publisher.interest()));
        events
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Gives a part of the runtime all events from now on.
    pub(crate) fn observe(&self, subscriber: Arc<dyn Subscriber>) {
        self.publisher.add(subscriber);
        self.step(|tasks, _| tasks.set_interest(self.publisher.interest()));
    }

    /// Begins to wait for a call that was spawned before.
    pub(crate) fn attach(
        &self,
        registration: &'static Registration,
        call: CallId,
        job: Job,
    ) -> Result<CallKey, Rejected> {
        if let Some(problem) = &self.config.invalid {
            return Err(Rejected::Configuration(problem.clone()));
        }
        let number = self.step(|tasks, _| tasks.attach(registration, call, job));
        Ok(CallKey::nested(number))
    }

    pub(crate) fn cancel(&self, call: CallNumber) {
        self.step(|tasks, now| tasks.cancel(now, call));
    }

    /// Cancels the calls whose outcomes go to a target.
    pub(crate) fn cancel_all(&self, target: &Arc<dyn Deliver>) {
        let goes_there = |job: &Job| delivery::is_same(&job.target, target);
        self.step(|tasks, now| tasks.cancel_where(now, goes_there));
    }

    /// Holds the inputs of a caller back, or releases them, according to `held` at that moment.
    pub(crate) fn hold(&self, caller: Caller, held: impl FnOnce() -> Option<Option<u64>>) {
        // Evaluated under the lock, so that the last step carries the current state.
        self.step(|tasks, now| tasks.hold(now, caller, held()));
    }

    /// Begins the shutdown, as that of the local engine does. Does nothing in a forked child.
    pub(crate) fn shut_down(&self, grace: Duration, runs_queued: bool) {
        if !self.is_foreign() {
            self.step(|tasks, now| tasks.shut_down(now, grace, runs_queued));
        }
    }

    /// Ends the thread for timers, after the last handle is gone.
    pub(crate) fn end(&self) {
        self.shut_down(Duration::ZERO, false);
        self.lock().is_dropped = true;
        self.changed.notify_all();
    }

    /// Polls for the end of all calls. Ready with those that the shutdown gave up.
    pub(crate) fn poll_drained(&self, waker: &Waker) -> Poll<Vec<(CallNumber, &'static str)>> {
        if self.is_foreign() {
            return Poll::Ready(Vec::new());
        }
        let mut state = self.lock();
        if state.tasks.is_drained() {
            return Poll::Ready(state.tasks.abandoned().to_vec());
        }
        state.draining.push(waker.clone());
        Poll::Pending
    }

    /// Returns the calls that go on although the shutdown does not wait for them.
    pub(crate) fn left(&self) -> Vec<(CallNumber, &'static str)> {
        self.lock().tasks.left().to_vec()
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.lock().tasks.is_drained()
    }

    /// Returns how many inputs machines may be executing, and how many wait for being sent.
    pub(crate) fn pending(&self) -> (usize, usize) {
        self.lock().tasks.pending()
    }

    /// Reads the calls of each function.
    pub(crate) fn read(&self) -> Vec<FunctionReading> {
        self.lock().tasks.read()
    }

    pub(crate) fn counts(&self, function: &str) -> Counts {
        self.lock().tasks.counts(function)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step<R>(&self, step: impl FnOnce(&mut Tasks, Instant) -> R) -> R {
        let mut state = self.lock();
        let result = step(&mut state.tasks, Instant::now());
        drop(self.act(state));
        result
    }

    /// Carries out decisions in their order, unless another thread does, or this one further up its stack. Outcomes
    /// are delivered afterwards: what they wake may make calls, and wait for them.
    fn act<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut outcomes: Vec<(Job, Outcome)> = Vec::new();
        loop {
            if std::mem::replace(&mut state.is_acting, true) {
                return state;
            }
            while let Some(action) = state.tasks.next_action() {
                match action {
                    Action::Resolve { job, outcome } => outcomes.push((job, outcome)),
                    Action::Publish(record) => {
                        self.publisher.publish(*record);
                        state.tasks.set_interest(self.publisher.interest());
                    }
                    action => {
                        drop(state);
                        self.perform(action);
                        state = self.lock();
                    }
                }
            }
            state.is_acting = false;
            let next = state.tasks.next_timer();
            if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
                self.changed.notify_all();
            }
            let drained = match state.tasks.is_drained() {
                true => std::mem::take(&mut state.draining),
                false => Vec::new(),
            };
            if outcomes.is_empty() && drained.is_empty() {
                return state;
            }
            drop(state);
            delivery::deliver(&mut outcomes);
            drained.into_iter().for_each(delivery::wake);
            state = self.lock();
        }
    }

    /// Asks the engine. A panic of it is the end of what it was asked for.
    fn perform(&self, action: Action) {
        let asked = AssertUnwindSafe(|| self.ask(action));
        // The unwinding drops the task's reply, which ends the task.
        let _ = catch_unwind(asked);
    }

    fn ask(&self, action: Action) {
        let this = Weak::clone(&self.this);
        match action {
            Action::Resolve { .. } | Action::Publish(_) => {}
            Action::Submit { number, task } => {
                self.engine.submit(task, Self::reply(this, number));
            }
            Action::Attach { number, id } => self.engine.attach(&id, Self::reply(this, number)),
            Action::Cancel(id) => self.engine.cancel(&id),
            Action::FindHosts { pool, queue } => {
                let found = move |hosts| {
                    if let Some(fleet) = this.upgrade() {
                        fleet.step(|tasks, now| tasks.found(now, &pool, &hosts));
                    }
                };
                self.engine.find_hosts(&queue, Found::new(found));
            }
        }
    }

    /// Returns the place for the news about a task.
    fn reply(this: Weak<Self>, number: u64) -> Reply {
        Reply::new(move |news| {
            if let Some(fleet) = this.upgrade() {
                fleet.step(|tasks, now| match news {
                    TaskNews::Accepted => tasks.accept(number),
                    TaskNews::Ended(end) => tasks.end(now, number, end),
                });
            }
        })
    }

    fn run_timers(&self) {
        let mut state = self.lock();
        while !(state.is_dropped && state.tasks.is_drained()) {
            let now = Instant::now();
            let next = state.tasks.next_timer();
            if next.is_some_and(|next| next <= now) && !state.is_acting {
                state.tasks.tick(now);
                state = self.act(state);
                continue;
            }
            state.armed = next;
            state = match next {
                Some(next) => {
                    let time = next.saturating_duration_since(now).max(SHORTEST_WAIT);
                    let waited = self.changed.wait_timeout(state, time);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

/// The shortest wait for a timer. One may be due already while another thread carries decisions out.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// The part of a body that is left for what describes an input.
const ENVELOPE: usize = 16;

/// Returns the version of this program, which tells the queues of its builds apart: a hash of its file, or of the
/// version that the user gives it, and of what it registers.
///
/// # Errors
///
/// If the program's file cannot be read.
pub(crate) fn version(config: &Config) -> io::Result<u64> {
    static OF_FILE: PerProcess<u64> = PerProcess::new();
    let mut hash = Fnv::default();
    match (&config.version, OF_FILE.get()) {
        (Some(version), _) => hash.add(version),
        (None, Some(of_file)) => hash.write(&of_file.to_le_bytes()),
        (None, None) => {
            // A new build may have taken the place of the file since.
            let path = match cfg!(target_os = "linux") {
                true => PathBuf::from("/proc/self/exe"),
                false => std::env::current_exe()?,
            };
            let of_file = hash_file(File::open(path)?)?;
            hash.write(&OF_FILE.get_or_init(|| of_file).to_le_bytes());
        }
    }
    hash.write(&registry::fingerprint().to_le_bytes());
    Ok(hash.finish())
}

/// Hashes a file. Only builds with the same standard library, which is in the file, get the same hash.
fn hash_file(mut file: File) -> io::Result<u64> {
    let mut hash = DefaultHasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finish()),
            length => hash.write(&buffer[..length]),
        }
    }
}
