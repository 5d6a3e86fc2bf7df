//! Implements `run`, on which `#[local_entrypoint]` is built: a program that ends in order, by itself or by a
//! signal, and meanwhile shows the progress of its calls (`progress.rs`). Only this module and
//! `program/serving.rs` handle signals, or print while a program runs. Elsewhere the library prints only errors
//! that end the start, and the note on systems without worker processes.

mod broken_pipe;
#[cfg(feature = "cli")]
pub(crate) mod command_line;
#[cfg(feature = "progress")]
pub(crate) mod progress;
#[cfg(not(feature = "progress"))]
#[path = "program/progress/absent.rs"]
pub(crate) mod progress;
mod running;
mod sampling;
pub(crate) mod serving;
mod status;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::api::call_id::CallId;
use crate::api::context::short_name;
use crate::api::excerpt::grouped;
use crate::caller::host::{self, Host};
use crate::caller::runtime::{Builder, Shutdown};
use crate::caller::underway;
use crate::child::nested::Upstream;
use crate::config::{self, FailOn, ProgressMode, StatusMode};
use crate::local::{LocalEngine, Observe, ProgramHooks};
use crate::sys::signals::{self, Signals};
use crate::sys::{self, PerProcess};
use crate::terminal;
use crate::wire::launch::{self, Entry};

/// Base of the exit codes of a program that a signal has ended: 128 plus the signal's number.
const BY_SIGNAL: i32 = 128;

/// Interval of the checks, after a signal, whether the calls have ended.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The first signal that asked this program to end.
static ASKED: PerProcess<AtomicI32> = PerProcess::new();

/// The shutdown grace, if the program has set one: it takes precedence over that of the engine's settings.
static GRACE: OnceLock<Duration> = OnceLock::new();

/// The state of the program: one of the constants below. A fork inherits it: a child that was forked inside
/// of `run` returns through the same `run`.
static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// `run` has not been called.
const IDLE: u8 = 0;

/// A `run` is under way.
const RUNNING: u8 = 1;

/// `run` has shut the default runtime down.
const ENDED: u8 = 2;

/// The settings with which a program runs, for a `main` that calls [`init`](crate::init).
///
/// [`run`] and [`run_async`] are the same without settings. Settings take precedence over the variables of
/// the same meaning.
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// use retry_runtime::runtime::ProgressMode;
/// use retry_runtime::{Program, Runtime, function};
///
/// #[function]
/// fn double(number: u64) -> u64 {
///     number * 2
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let sum = Program::new()
///         .progress(ProgressMode::None)
///         .shutdown_grace(Duration::from_secs(30))
///         .runtime(Runtime::builder().max_workers(2))
///         .run(|| double.map(0..10).into_iter().map(Result::unwrap).sum::<u64>());
///     assert_eq!(sum, 90);
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "settings do nothing unless a program runs with them"]
pub struct Program {
    progress: Option<ProgressMode>,
    status: Option<StatusMode>,
    fail_on: Option<FailOn>,
    shutdown_grace: Option<Duration>,
    runtime: Option<Builder>,
}

impl Program {
    /// Creates settings that are those of the `RETRY_` variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the display of progress, [`ProgressMode::Auto`] or `RETRY_PROGRESS` by default.
    pub fn progress(mut self, mode: ProgressMode) -> Self {
        self.progress = Some(mode);
        self
    }

    /// Sets the status lines, [`StatusMode::Retry`] or `RETRY_STATUS` by default.
    pub fn status(mut self, mode: StatusMode) -> Self {
        self.status = Some(mode);
        self
    }

    /// Sets for which failures the program exits with code 100 where it would exit with 0: [`FailOn::Never`] or
    /// `RETRY_FAIL_ON` by default.
    ///
    /// `run` returns as usual, and the code after it runs. With another C library than glibc the program exits as
    /// soon as the closure has returned and spawned calls have ended. If the closure panics, the panic continues
    /// instead.
    pub fn fail_on(mut self, failures: FailOn) -> Self {
        self.fail_on = Some(failures);
        self
    }

    /// Sets the time that pending calls have to end when the program ends or receives a signal, 10 s or
    /// `RETRY_SHUTDOWN_GRACE` by default.
    ///
    /// Zero cancels them at once.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.shutdown_grace = Some(grace);
        self
    }

    /// Sets up the default runtime, which serves all calls that name no other one.
    ///
    /// A call that a worker makes has the policies of the attributes and of the environment, as with a
    /// [`Runtime`](crate::Runtime).
    ///
    /// ```no_run
    /// use retry_runtime::{Program, Runtime};
    ///
    /// retry_runtime::init();
    /// let few = Runtime::builder().max_processes(4).env("OMP_NUM_THREADS", "1");
    /// Program::new().runtime(few).run(|| {
    ///     // Calls have at most four workers.
    /// });
    /// ```
    pub fn runtime(mut self, builder: Builder) -> Self {
        self.runtime = Some(builder);
        self
    }

    /// Runs the part of a program that makes calls, with these settings; see [`run`].
    ///
    /// In a worker and in a [`#[test]`](macro@crate::test) the settings have no effect.
    ///
    /// # Panics
    ///
    /// Panics where [`run`] does, if these settings come too late because another `run` is under way, and if
    /// there is a [`runtime`](Self::runtime) to set up but the default runtime has been started by a call.
    /// Panics with the panic of `work`, after the program has ended in order.
    #[track_caller]
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        if !self.takes_over() {
            return work();
        }
        let fail_on = self.begin();
        broken_pipe::silence(status::settle);
        let result = catch_unwind(AssertUnwindSafe(work));
        if let Err(payload) = &result
            && broken_pipe::is_broken_pipe(&**payload)
        {
            // Nobody reads the results of spawned calls either. The workers end with this process.
            end_display();
            std::process::exit(broken_pipe::EXIT);
        }
        finish();
        if result.is_ok() {
            status::fail_on_failures(fail_on);
        }
        STATE.store(ENDED, Ordering::Release);
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Runs a future on a multi-threaded tokio runtime, with these settings; see [`run_async`].
    ///
    /// # Panics
    ///
    /// Panics where [`Program::run`] and [`run_async`] do.
    #[track_caller]
    pub fn run_async<F: Future>(self, future: F) -> F::Output {
        assert!(
            tokio::runtime::Handle::try_current().is_err(),
            "`run_async` starts a tokio runtime, but this thread belongs to one already: make `main` a plain \
             `fn` without #[tokio::main], or `.await` the future here"
        );
        self.run(|| block_on(future))
    }

    /// Returns whether this call is the one that begins and ends the program.
    #[track_caller]
    fn takes_over(&self) -> bool {
        match launch::entry() {
            None => panic!(
                "`retry_runtime::run` does not work without `retry_runtime::init()`: call `init()` in the first \
                 line of `main`"
            ),
            Some(Entry::Test(_)) => return false,
            Some(Entry::Main) if Upstream::get().is_some() => return false,
            Some(Entry::Main) => {}
        }
        let begun = STATE.compare_exchange(IDLE, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        match begun {
            Ok(_) => true,
            Err(RUNNING) => {
                assert!(
                    self.progress.is_none()
                        && self.status.is_none()
                        && self.fail_on.is_none()
                        && self.shutdown_grace.is_none()
                        && self.runtime.is_none(),
                    "the settings of a `Program` come too late inside of another `run`: give them to the \
                     outer one"
                );
                false
            }
            Err(_) => panic!(
                "`retry_runtime::run` has ended, and with it the default runtime: call it once, with all \
                 calls of the program in its closure"
            ),
        }
    }

    /// Starts the program. Returns for which failures it exits with an error.
    #[track_caller]
    fn begin(self) -> FailOn {
        if let Some(builder) = self.runtime {
            assert!(
                host::configure(builder.into_config()),
                "the settings of the default runtime come too late, since a call has started it already: \
                 begin the program before its first call"
            );
        }
        if let Some(grace) = self.shutdown_grace {
            let _ = GRACE.set(grace);
        }
        let configured = host::configuration();
        begin(
            self.progress.unwrap_or(configured.progress),
            self.status.unwrap_or(configured.status),
        );
        self.fail_on.unwrap_or(configured.fail_on)
    }
}

/// Runs the part of a program that makes calls, and returns the value of the closure.
///
/// This is [`#[local_entrypoint]`](macro@crate::local_entrypoint) without the command line: for a `main` that
/// calls [`init`](crate::init) and parses its own arguments. It does these steps:
///
/// 1. It warns about unknown variables that begin with `RETRY_`.
/// 2. It handles SIGINT, SIGTERM, SIGHUP and SIGTSTP (Ctrl-Z), and shows the progress of calls on standard
///    error once they have been pending for a second.
/// 3. It runs the closure, on this thread.
/// 4. It waits for spawned calls, for at most `RETRY_SHUTDOWN_GRACE` (10 s), names those that it gives up,
///    and shuts the default runtime down. If the closure panics, the same happens before the panic continues.
///    A runtime from [`Runtime::builder`](crate::Runtime::builder) ends when it is dropped or shut down,
///    which is the program's own business.
///
/// The page of the attribute has the details of [signals and exit
/// codes](macro@crate::local_entrypoint#the-end-of-the-program) and of
/// [Ctrl-Z](macro@crate::local_entrypoint#ctrl-z). [`Program`] has the settings.
///
/// A `run` inside of another one, on any thread, only runs its closure: the outer one ends the program. So
/// does a `run` in a worker, and one in a [`#[test]`](macro@crate::test), where the test harness owns signals
/// and output. A `run` after the end of another one panics.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, function};
///
/// #[function(retries = 2)]
/// fn parse(text: String) -> Result<u64, std::num::ParseIntError> {
///     text.parse()
/// }
///
/// fn main() -> Result<(), CallError<retry_runtime::RemoteError>> {
///     retry_runtime::init();
///     // Any parser of arguments can be used here.
///     let texts: Vec<String> = std::env::args().skip(1).collect();
///     retry_runtime::run(|| {
///         for result in parse.map(texts) {
///             println!("{}", result?);
///         }
///         Ok(())
///     })
/// }
/// ```
///
/// # Panics
///
/// Panics if [`init`](crate::init) has not been called before, and if another `run` has ended before. Panics
/// with the panic of the closure, after the program has ended in order.
#[track_caller]
pub fn run<R>(work: impl FnOnce() -> R) -> R {
    Program::new().run(work)
}

/// Runs the part of a program that makes calls as a future, on a multi-threaded tokio runtime.
///
/// The runtime has all drivers enabled and one thread per core. It ends with the future, before spawned calls
/// are waited for. Everything else is as in [`run`].
///
/// ```standalone_crate
/// use retry_runtime::function;
///
/// #[function]
/// async fn double(number: u64) -> u64 {
///     number * 2
/// }
///
/// async fn work(numbers: std::ops::Range<u64>) -> u64 {
///     let mut sum = 0;
///     for result in double.map(numbers).await {
///         sum += result.unwrap();
///     }
///     sum
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let sum = retry_runtime::run_async(work(0..10));
///     assert_eq!(sum, 90);
/// }
/// ```
///
/// # Panics
///
/// Panics where [`run`] does, if this thread belongs to a tokio runtime already, as under `#[tokio::main]`,
/// and if the operating system lacks the resources for one.
#[track_caller]
pub fn run_async<F: Future>(future: F) -> F::Output {
    Program::new().run_async(future)
}

/// Runs a future on a multi-threaded tokio runtime.
///
/// # Panics
///
/// Panics if the operating system lacks the resources for an async runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("an async runtime can be started")
        .block_on(future)
}

/// Returns the time that pending calls have to end.
fn shutdown_grace() -> Duration {
    let given = GRACE.get().copied();
    given.unwrap_or_else(|| host::configuration().shutdown_grace)
}

/// Warns about variables, handles signals, and shows progress.
fn begin(progress: ProgressMode, status: StatusMode) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in config::warnings(names) {
        sys::complain(format_args!("warning: {warning}\n"));
    }
    // From here on signals are recorded, even before the thread starts to read them. Without a pipe or a
    // thread they keep their default action, and the workers end with this process.
    if let Ok(signals) = Signals::open()
        && watch(signals).is_ok()
    {
        signals::catch();
    }
    // A forked child inherits the handlers, but has neither the thread nor a pipe of its own.
    let starts = |observe: Observe<'_>| {
        status::observe(observe);
        if !Signals::are_open()
            && let Ok(signals) = Signals::open()
        {
            let _ = watch(signals);
        }
    };
    LocalEngine::set_program_hooks(ProgramHooks {
        on_engine_start: starts,
        say,
    });
    status::begin(status);
    if progress == ProgressMode::None && status == StatusMode::None {
        return;
    }
    let mut display = progress::Display::new(progress);
    sampling::begin(move |now, samples| {
        status::announce(now, samples);
        display.show(now, samples);
        for note in samples.iter().filter_map(|sample| sample.note.as_ref()) {
            status::note(note);
        }
    });
}

/// Starts the thread that handles signals.
fn watch(signals: Signals) -> std::io::Result<()> {
    thread::Builder::new()
        .name("retry-signals".to_owned())
        .spawn(move || handle(&signals))?;
    Ok(())
}

/// Prints a message about the end of the program.
fn say(text: &str) {
    terminal::suspend(|| sys::complain(format_args!("{text}\n")));
}

/// Leaves the end of the program to the thread that handles signals, if one has asked for it: that thread ends it
/// with the exit code for the signal.
fn leave_to_signal() {
    while ASKED
        .get()
        .is_some_and(|asked| asked.load(Ordering::Acquire) != 0)
    {
        thread::park();
    }
}

/// Ends the program in order: waits for spawned calls, up to the shutdown grace.
fn finish() {
    leave_to_signal();
    terminal::begin_wait();
    if let Some(host) = Host::global_if_started() {
        let grace = shutdown_grace();
        let (running, queued) = host.pending();
        match running + queued {
            0 => {}
            1 => say(&format!(
                "waiting for 1 spawned call, at most {grace:?}; Ctrl-C twice to abandon it"
            )),
            calls => say(&format!(
                "waiting for {calls} spawned calls, at most {grace:?}; Ctrl-C twice to abandon them"
            )),
        }
        let begun = host.running_time();
        let shutdown = Shutdown::begin(&host, grace);
        let abandoned = shutdown.wait_for(SILENT).unwrap_or_else(|shutdown| {
            if running + queued == 0 {
                let elapsed = host.running_time().saturating_duration_since(begun);
                say_what_is_left(&host, grace.saturating_sub(elapsed));
            }
            shutdown.wait()
        });
        let left = host.left();
        let goes_on = |id: CallId| left.iter().any(|(call, _)| call.of(host.run()) == id);
        for abandoned in abandoned.iter().filter(|one| !goes_on(one.call_id())) {
            say(&format!("abandoned {abandoned}"));
        }
        for (call, function) in &left {
            let (name, id) = (short_name(function), call.of(host.run()));
            say(&format!(
                "{name} ({id}) goes on; `{name}.attach(id)` returns its result"
            ));
        }
        // A signal may have come while this thread waited.
        leave_to_signal();
        say_what_was_killed(&host);
    }
    end_display();
    status::end();
}

/// Takes the progress off the terminal for good.
fn end_display() {
    terminal::end();
    sampling::end();
}

/// Time to wait for workers to end before a message about it is printed.
const SILENT: Duration = Duration::from_millis(250);

/// Time for which a program that ends at once waits for the end of the workers that it has killed.
const KILL_TIME: Duration = Duration::from_millis(500);

/// Maximum number of workers that are listed by name.
const NAMED: usize = 3;

/// Prints which workers have not ended yet.
fn say_what_is_left(host: &Host, grace: Duration) {
    let left = host
        .local()
        .map_or_else(Vec::new, |engine| engine.processes());
    if !left.is_empty() {
        say(&format!(
            "waiting for {} to end, at most {grace:.1?}; Ctrl-C to kill now",
            list(&left)
        ));
    }
}

/// Prints which workers had to be killed.
fn say_what_was_killed(host: &Host) {
    let engine = host.local();
    let killed = engine.map_or_else(Vec::new, |engine| engine.killed_at_shutdown());
    if !killed.is_empty() {
        say(&format!(
            "killed {}, which did not end in time",
            list(&killed)
        ));
    }
}

/// Formats a list of names, of which only the first few are spelled out.
fn list(names: &[String]) -> String {
    let (named, others) = names.split_at(names.len().min(NAMED));
    let named = named.join(", ");
    match others.len() {
        0 => named,
        1 => format!("{named} and 1 other"),
        others => format!("{named} and {others} others"),
    }
}

/// Ends the program because of a signal. The next signal ends it at once: what is written last may take a while.
fn exit(signal: i32) -> ! {
    signals::release();
    end_display();
    status::end();
    std::process::exit(BY_SIGNAL + signal)
}

/// Acts on a signal. Returns it instead if it asks the program to end.
fn answer(signal: i32) -> Option<i32> {
    match signal {
        signals::QUESTION => running::print(),
        signals::SUSPEND => suspend(),
        ends => return Some(ends),
    }
    None
}

/// Suspends the program and its workers until the program is continued.
fn suspend() {
    let begun = Instant::now();
    // The shell prints its prompt where the display of progress is.
    LocalEngine::suspend_all(|| terminal::suspend(signals::suspend));
    status::note_suspension(begun.elapsed());
}

/// Kills what is left, and waits a moment for the outcomes, so that the summary and the files have them.
fn end_at_once(host: &Host, signals: &Signals) {
    host.shut_down(Duration::ZERO, false);
    let until = Instant::now() + KILL_TIME;
    while !host.is_drained() && Instant::now() < until {
        if signals
            .next(Some(END_CHECK_INTERVAL))
            .and_then(answer)
            .is_some()
        {
            // The remaining workers end with this process.
            break;
        }
    }
}

fn handle(signals: &Signals) {
    let first = loop {
        match signals.next(None).map(answer) {
            None => return,
            Some(None) => {}
            Some(Some(first)) => break first,
        }
    };
    ASKED
        .get_or_init(AtomicI32::default)
        .store(first, Ordering::Release);
    let Some(host) = Host::global_if_started() else {
        exit(first);
    };
    let grace = shutdown_grace();
    let (running, queued) = host.pending();
    let to_come = underway::stop(|function| host.counts(function));
    if running + queued > 0 {
        let waiting = grouped(queued as u64 + to_come);
        say(&format!(
            "cancelling: {running} running ({grace:?} to end), {waiting} not started; Ctrl-C \
             again to kill now"
        ));
    }
    host.shut_down(grace, false);
    let mut silent = (running + queued == 0).then(|| Instant::now() + SILENT);
    while !host.is_drained() {
        if let Some(second) = signals.next(Some(END_CHECK_INTERVAL)).and_then(answer) {
            end_at_once(&host, signals);
            exit(second);
        }
        if silent.take_if(|until| *until <= Instant::now()).is_some() {
            say_what_is_left(&host, grace.saturating_sub(SILENT));
        }
    }
    say_what_was_killed(&host);
    // Give `main` time to print what follows from the end of its calls.
    let second = signals.next(Some(Duration::from_millis(50)));
    exit(second.and_then(answer).unwrap_or(first))
}
