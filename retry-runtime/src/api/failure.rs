//! The ways in which a call fails, apart from its context and the function's own error.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::crash_limit::CrashLimit;
use crate::api::excerpt::{LONGEST_LINE, excerpt, in_a_line, line, one_line, or_no_text, shares};
use crate::codec;

/// The beginning of the first line of a call's report below its headline.
pub(crate) const REPORT: &str = "    function  ";

/// A panic that ended a call.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, function};
///
/// #[function]
/// fn divide(a: u64, b: u64) -> u64 {
///     a / b
/// }
///
/// fn main() {
///     retry_runtime::init();
///     match divide.remote(1, 0).wait() {
///         Err(CallError::Panicked(panic, _)) => {
///             assert_eq!(panic.message(), "attempt to divide by zero");
///             eprintln!("at {}", panic.location().unwrap_or("an unknown place"));
///         }
///         other => panic!("{other:?}"),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic(Box<PanicParts>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PanicParts {
    message: String,
    location: Option<String>,
    backtrace: Option<String>,
}

impl Panic {
    /// Returns a panic whose encoding has at most `limit` bytes: its texts are shortened as needed.
    pub(crate) fn within(
        limit: usize,
        message: &str,
        location: Option<String>,
        backtrace: Option<String>,
    ) -> Self {
        /// The encoding of an empty message alone, and what each other text adds to it.
        const EMPTY: usize = 10 + codec::SHAPE;
        const LENGTH: usize = 8;
        /// A backtrace that is shortened to less than this is of no use.
        const SHORTEST_BACKTRACE: usize = 256;
        let mut room = limit.saturating_sub(EMPTY);
        // A location that is cut short would name another place.
        let location = location.filter(|location| location.len() + LENGTH <= room / 2);
        if let Some(location) = &location {
            room -= location.len() + LENGTH;
        }
        let backtrace = backtrace.and_then(|backtrace| {
            let room = room.checked_sub(LENGTH)?;
            let share = shares(&[message.len(), backtrace.len()], room)[1];
            (share >= backtrace.len().min(SHORTEST_BACKTRACE))
                .then(|| excerpt(&backtrace, share).into_owned())
        });
        if let Some(backtrace) = &backtrace {
            room -= backtrace.len() + LENGTH;
        }
        Self(Box::new(PanicParts {
            message: excerpt(message, room).into_owned(),
            location,
            backtrace,
        }))
    }

    /// Returns the panic's message.
    ///
    /// If the payload is not text, the message says so, and names the type of the payload if it is a common
    /// one. A message above the limit on messages (`RETRY_MAX_MESSAGE`) is shortened, with a note in its
    /// middle that says how much is missing.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns file, line and column of the panic, as in `src/main.rs:12:5`.
    ///
    /// Returns `None` if the location is not certain: the panic hook did not see the panic (`resume_unwind`
    /// with a new payload, or a hook that the function has installed), or panics with the same literal text
    /// happened in several places.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// Returns the backtrace, if `RUST_BACKTRACE` or `RUST_LIB_BACKTRACE` enabled it.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }
}

impl Panic {
    /// Returns the message in full, without the place. If the function unwrapped the error of another call, the
    /// message is the report of that call: with each call in between, the words of `unwrap` would come once more.
    pub(crate) fn told(&self) -> &str {
        const UNWRAP: &str = "called `Result::unwrap()` on an `Err` value: ";
        let report = self.0.message.strip_prefix(UNWRAP);
        let report = report.filter(|text| text.contains(REPORT));
        report.unwrap_or(&self.0.message)
    }

    /// Returns the message in full, with the place.
    pub(crate) fn in_full(&self) -> String {
        format!("{}{}", self.told(), self.place())
    }

    /// Returns the lines that a panic hook would have printed.
    pub(crate) fn as_printed(&self) -> String {
        let place = self.location().unwrap_or("an unknown place");
        format!("\nthread panicked at {place}:\n{}", self.0.message)
    }

    /// Returns the place in parentheses: ` (src/main.rs:12:5)`.
    pub(crate) fn place(&self) -> String {
        match &self.0.location {
            Some(location) => format!(" ({location})"),
            None => " (location unknown)".to_owned(),
        }
    }
}

/// One line of at most 200 characters.
impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        let room = LONGEST_LINE.saturating_sub(place.chars().count());
        let message = line(&self.0.message, room.max(LONGEST_LINE / 2));
        in_a_line(format_args!("{message}{place}"), f)
    }
}

/// The end of a process, as the operating system reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitCause {
    /// A signal ended it. Its sender is unknown: a `SIGKILL` may come from another process, from the function
    /// itself, or from the kernel when memory runs out.
    Signal {
        /// The signal's number.
        signal: i32,
        /// `true` if a core was dumped.
        core_dumped: bool,
    },
    /// It exited by itself with this code.
    Code(i32),
    /// It was killed because it exceeded its `memory` limit. This is reported on evidence only.
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
        /// The highest measured use, in bytes.
        peak: u64,
    },
    /// The operating system did not report it, because other code in this program waited for the process, or
    /// because `SIGCHLD` is ignored.
    Unknown,
}

impl ExitCause {
    /// Shows how a process ended that was executing a call, which makes a difference for code 0.
    pub(crate) fn during_call(self) -> impl fmt::Display {
        let exited = matches!(self, Self::Code(0));
        let addition = if exited {
            " in the middle of a call"
        } else {
            ""
        };
        fmt::from_fn(move |f| write!(f, "{self}{addition}"))
    }

    /// Returns the name of the signal that ended the process, if it has one.
    pub(crate) fn signal(self) -> Option<&'static str> {
        match self {
            Self::Signal { signal: 9, .. } => Some("SIGKILL"),
            Self::Signal { signal, .. } => Self::signal_name(signal).map(|(name, _)| name),
            Self::Code(_) | Self::OutOfMemory { .. } | Self::Unknown => None,
        }
    }

    /// Returns the name of a signal and its usual description, which is that of the signal and says
    /// nothing about what sent it.
    fn signal_name(signal: i32) -> Option<(&'static str, &'static str)> {
        Some(match signal {
            1 => ("SIGHUP", "hang-up"),
            2 => ("SIGINT", "interrupt"),
            3 => ("SIGQUIT", "quit"),
            4 => ("SIGILL", "illegal instruction"),
            5 => ("SIGTRAP", "trap"),
            6 => ("SIGABRT", "abort"),
            7 => ("SIGBUS", "bad memory access"),
            8 => ("SIGFPE", "arithmetic error"),
            10 => ("SIGUSR1", "user signal"),
            11 => ("SIGSEGV", "invalid memory reference"),
            12 => ("SIGUSR2", "user signal"),
            13 => ("SIGPIPE", "broken pipe"),
            14 => ("SIGALRM", "alarm"),
            15 => ("SIGTERM", "termination request"),
            24 => ("SIGXCPU", "CPU time limit"),
            25 => ("SIGXFSZ", "file size limit"),
            31 => ("SIGSYS", "bad system call"),
            _ => return None,
        })
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signal {
                signal,
                core_dumped,
            } => {
                match Self::signal_name(signal) {
                    None if signal == 9 => f.write_str("killed by SIGKILL")?,
                    Some((name, meaning)) => write!(f, "{name} ({meaning})")?,
                    None => write!(f, "signal {signal}")?,
                }
                if core_dumped {
                    f.write_str(", core dumped")?;
                }
                Ok(())
            }
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::OutOfMemory { limit, peak } => write!(
                f,
                "killed for using too much memory (limit {}, peak {})",
                Bytes(limit),
                Bytes(peak)
            ),
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// A number of bytes as people write it.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in units {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if value.fract() == 0.0 {
            write!(f, "{value} {unit}")
        } else {
            write!(f, "{value:.2} {unit}")
        }
    }
}

/// The death of a worker in the middle of a call.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, function};
///
/// #[function]
/// fn leave(code: i32) {
///     std::process::exit(code);
/// }
///
/// fn main() {
///     retry_runtime::init();
///     match leave.remote(3).wait() {
///         Err(CallError::Crashed(crash, _)) => {
///             assert_eq!(crash.code(), Some(3));
///             assert_eq!(crash.signal(), None);
///         }
///         other => panic!("{other:?}"),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    cause: ExitCause,
    together: usize,
    limit: u32,
}

impl Crash {
    pub(crate) fn new(cause: ExitCause, together: usize) -> Self {
        Self {
            cause,
            together,
            limit: 0,
        }
    }

    /// Returns how the worker died, and the limit that has ended the call if there could be several.
    pub(crate) fn told(&self) -> String {
        match self.limit {
            0 | 1 => self.to_string(),
            limit => format!(
                "{self}; an input is given up after {limit} crashes, whatever its `retries`"
            ),
        }
    }

    /// Records that the call is not run again because it has crashed this often.
    pub(crate) fn given_up_after(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// Returns the number of inputs that the worker was executing.
    ///
    /// It is more than one only for a function with `concurrency` or `batch`, and `at_most_once`: otherwise
    /// each input is run again alone, and only an input that crashes alone is blamed.
    #[must_use]
    pub fn executing(&self) -> usize {
        self.together
    }

    /// Returns how the process ended.
    #[must_use]
    pub fn cause(&self) -> ExitCause {
        self.cause
    }

    /// Returns the number of the signal that ended it, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self.cause {
            ExitCause::Signal { signal, .. } => Some(signal),
            _ => None,
        }
    }

    /// Returns the exit code, if it exited.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.cause {
            ExitCause::Code(code) => Some(code),
            _ => None,
        }
    }

    /// Returns whether a core was dumped.
    #[must_use]
    pub fn core_dumped(&self) -> bool {
        matches!(
            self.cause,
            ExitCause::Signal {
                core_dumped: true,
                ..
            }
        )
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause.during_call())?;
        if self.together > 1 {
            let several = self.together;
            write!(f, ", while its worker was executing {several} inputs")?;
        }
        Ok(())
    }
}

/// The kind of a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Limit {
    /// `timeout`: the execution of one attempt.
    Attempt,
    /// `deadline`: queue, attempts and delays together. In a map it counts for each input, from the start
    /// of its first attempt.
    Deadline,
    /// `startup_timeout`: from the start of a worker until it is ready.
    Startup,
}

/// The thing that a call was waiting for when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Waiting {
    /// A free worker: the call was queued.
    Worker,
    /// The end of an attempt: the function was running.
    Attempt,
    /// The end of the delay before its next attempt.
    Retry,
}

/// A time limit that was reached.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, error::Limit, function};
/// use std::time::Duration;
///
/// #[function(timeout = "50ms")]
/// fn sleep(seconds: u64) {
///     std::thread::sleep(Duration::from_secs(seconds));
/// }
///
/// fn main() {
///     retry_runtime::init();
///     match sleep.remote(60).wait() {
///         Err(CallError::TimedOut(timed_out, _)) => {
///             assert_eq!(timed_out.limit(), Limit::Attempt);
///             assert_eq!(timed_out.after(), Duration::from_millis(50));
///         }
///         other => panic!("{other:?}"),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedOut {
    limit: Limit,
    after: Duration,
    waiting: Option<Waiting>,
}

impl TimedOut {
    pub(crate) fn new(limit: Limit, after: Duration) -> Self {
        Self {
            limit,
            after,
            waiting: None,
        }
    }

    pub(crate) fn while_waiting(self, waiting: Waiting) -> Self {
        Self {
            waiting: Some(waiting),
            ..self
        }
    }

    /// Returns what the call was waiting for when its `deadline` passed; `None` for other limits.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Waiting> {
        self.waiting
    }

    /// Returns the kind of the limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns the length of the limit.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after;
        match self.limit {
            Limit::Attempt => write!(f, "an attempt ran longer than its timeout of {after:?}"),
            Limit::Deadline => {
                write!(f, "no result within the deadline of {after:?}")?;
                f.write_str(match self.waiting {
                    None => "",
                    Some(Waiting::Worker) => ": it was waiting for a worker",
                    Some(Waiting::Attempt) => ": it was still running",
                    Some(Waiting::Retry) => ": it was waiting for its next attempt",
                })
            }
            Limit::Startup => write!(
                f,
                "the worker was not ready within its startup_timeout of {after:?}"
            ),
        }
    }
}

/// The reason why no worker became ready.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, error::Startup, function};
///
/// fn load() -> Result<Vec<f64>, String> {
///     Err("there is no model".to_owned())
/// }
///
/// #[function(setup = load)]
/// fn weight(model: &Vec<f64>, position: usize) -> f64 {
///     model[position]
/// }
///
/// fn main() {
///     retry_runtime::init();
///     match weight.remote(7).wait() {
///         Err(CallError::Startup(Startup::SetUp(error), _)) => {
///             assert_eq!(&*error, "there is no model");
///         }
///         other => panic!("{other:?}"),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Startup {
    /// The process ended before it was ready.
    Exited(ExitCause),
    /// The function's `setup`, or a function with [`#[on_start]`](macro@crate::on_start), returned an error or
    /// panicked, with this text.
    SetUp(Box<str>),
    /// The worker was not ready in time.
    TimedOut(TimedOut),
    /// The operating system did not start the process, with this error.
    Spawn(Box<str>),
    /// The process is not a worker of this program.
    Handshake(Box<str>),
    /// No machine serves the function, for this long. The text says what to do.
    NoHost(Box<str>),
}

impl Startup {
    /// Returns the reason in full.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Exited(ExitCause::Code(code)) => {
                format!("the worker exited with code {code} before it was ready")
            }
            Self::Exited(cause) => format!("the worker crashed before it was ready: {cause}"),
            Self::SetUp(message) => format!("setup failed: {}", or_no_text(message)),
            Self::TimedOut(timed_out) => timed_out.to_string(),
            Self::Spawn(message) => format!("the worker process cannot be started: {message}"),
            Self::Handshake(message) | Self::NoHost(message) => message.to_string(),
        }
    }

    /// Returns the first line of the reason, for a reader who knows that a set-up has failed.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::SetUp(message) => one_line(message),
            other => one_line(&other.told()),
        }
    }
}

/// One line of at most 200 characters.
impl fmt::Display for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_a_line(self.told(), f)
    }
}

/// The crashes that reached a function's [`CrashLimit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashLimitExceeded(Box<Crashes>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Crashes {
    crashes: u32,
    completed: u64,
    limit: CrashLimit,
    last: ExitCause,
}

impl CrashLimitExceeded {
    pub(crate) fn new(crashes: u32, completed: u64, limit: CrashLimit, last: ExitCause) -> Self {
        Self(Box::new(Crashes {
            crashes,
            completed,
            limit,
            last,
        }))
    }

    /// Returns the number of workers that crashed within the window.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.0.crashes
    }

    /// Returns the number of attempts that were completed within the window.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.0.completed
    }

    /// Returns the limit that was reached.
    #[must_use]
    pub fn limit(&self) -> CrashLimit {
        self.0.limit
    }

    /// Returns how the last of these workers ended.
    #[must_use]
    pub fn last_crash(&self) -> ExitCause {
        self.0.last
    }
}

impl fmt::Display for CrashLimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Crashes {
            crashes,
            completed,
            limit,
            last,
        } = &*self.0;
        let last = last.during_call();
        let window = limit.get().map_or(Duration::ZERO, |(_, window)| window);
        write!(
            f,
            "{crashes} workers of this function crashed within {window:?} and only {completed} \
             attempts were completed; the last one: {last}"
        )
    }
}

/// The origin of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cancelled {
    /// The caller, through [`FunctionCall::cancel`](crate::FunctionCall::cancel).
    ByCaller,
    /// The runtime, when it was shut down.
    ByShutdown,
    /// The end of the call that made this one.
    WithOuterCall,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByCaller => "by its caller",
            Self::ByShutdown => "the runtime was shut down",
            Self::WithOuterCall => "the call that made it has ended, or no call made it",
        })
    }
}

/// The reason why a call was refused before it ran.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, Runtime, error::Rejected, function};
///
/// #[function]
/// fn length(text: String) -> usize {
///     text.len()
/// }
///
/// fn main() -> std::io::Result<()> {
///     retry_runtime::init();
///     let runtime = Runtime::builder().max_message(1024).build()?;
///     match length.on(&runtime).remote("a".repeat(2000)).wait() {
///         Err(CallError::Rejected(Rejected::TooLarge { parameter, limit }, _)) => {
///             assert_eq!((&*parameter, limit), ("text", 1024));
///         }
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rejected {
    /// An argument cannot be encoded.
    NotEncodable {
        /// The parameter's name.
        parameter: Box<str>,
        /// The reason.
        reason: Box<str>,
    },
    /// An argument cannot be decoded by the worker.
    NotDecodable {
        /// The parameter's name.
        parameter: Box<str>,
        /// The reason.
        reason: Box<str>,
    },
    /// The arguments are larger than the limit.
    TooLarge {
        /// The parameter that went over the limit.
        parameter: Box<str>,
        /// The limit in bytes.
        limit: usize,
    },
    /// This process may not start workers: it never passed [`init`](crate::init), or an attribute that
    /// calls it.
    NotInitialised,
    /// The operating system has no thread, descriptor or memory left that the runtime needs, or no thread
    /// that the calls of a worker need. This is its error. The next call tries again.
    NoResources(Box<str>),
    /// Calls are nested too deeply.
    TooDeep {
        /// The deepest nesting that is allowed.
        limit: u32,
    },
    /// Two functions are registered under this name.
    DuplicateName {
        /// The source locations of both.
        places: Box<str>,
    },
    /// A setting in the environment is invalid: its name, and what it has to be. Or a file that the program was told
    /// to write cannot be written: its name, and the reason.
    Configuration(Box<str>),
    /// The checkpoint of a map, or the cache of a function, cannot be used: the file or directory, and the
    /// reason.
    Checkpoint(Box<str>),
    /// The engine that the call was to go to does not accept it, for this reason: it cannot be reached or
    /// refuses the program, or no engine of its name is linked.
    Engine(Box<str>),
    /// The runtime is shut down.
    ShutDown,
    /// The call was made through a runtime, a map or a call of the process that this one was forked
    /// from, or in a process that was forked from a worker.
    Forked,
}

impl Rejected {
    /// Returns the reason for which no result is kept of a call that names a shared value.
    pub(crate) fn keeps_no_shared_value() -> Self {
        let reason = "a `Shared` among the arguments: what it contains is not known in the next run, so that no \
                      result can be kept for it; pass what it is made of, such as a path";
        Self::Checkpoint(reason.into())
    }

    /// Returns the reason in full.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::NotEncodable { parameter, reason } => {
                let reason = or_no_text(reason);
                format!("argument `{parameter}` cannot be encoded: {reason}")
            }
            Self::NotDecodable { parameter, reason } => {
                let reason = or_no_text(reason);
                format!("argument `{parameter}` cannot be decoded by the worker: {reason}")
            }
            Self::TooLarge { parameter, limit } => format!(
                "argument `{parameter}` makes the input larger than {limit} bytes: pass a path \
                 instead of its contents, or raise RETRY_MAX_MESSAGE"
            ),
            Self::NotInitialised => {
                "its workers would run `main` again: put #[local_entrypoint] on `main`, or call \
                 `retry_runtime::init()` first in it; in a test use #[retry_runtime::test]"
                    .to_owned()
            }
            Self::NoResources(error) => format!(
                "there is no thread, descriptor or memory left for making calls: {error}; the next \
                 call tries again"
            ),
            Self::TooDeep { limit } => {
                format!("calls are nested deeper than {limit} levels")
            }
            Self::DuplicateName { places } => format!(
                "the name is registered twice, {places}; give one of them another with \
                 #[function(name = \"..\")]"
            ),
            Self::Configuration(problem) | Self::Checkpoint(problem) | Self::Engine(problem) => {
                problem.to_string()
            }
            Self::ShutDown => "the runtime is shut down".to_owned(),
            Self::Forked => {
                "its runtime belongs to the process that this one was forked from: use the default \
                 runtime or a new one (a process that was forked from a worker makes no calls)"
                    .to_owned()
            }
        }
    }
}

/// One line of at most 200 characters.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_a_line(self.told(), f)
    }
}

/// The reason why the result of a call that may have run is missing.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, Runtime, error::Lost, function};
///
/// #[function]
/// fn repeat(text: String, times: usize) -> String {
///     text.repeat(times)
/// }
///
/// fn main() -> std::io::Result<()> {
///     retry_runtime::init();
///     let runtime = Runtime::builder().max_message(1024).build()?;
///     match repeat.on(&runtime).remote("a".to_owned(), 2000).wait() {
///         Err(CallError::Lost(Lost::TooLarge { limit }, _)) => assert_eq!(limit, 1024),
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Lost {
    /// The worker could not encode the function's result.
    NotEncodable {
        /// The reason.
        reason: Box<str>,
    },
    /// The caller could not decode the function's result.
    NotDecodable {
        /// The reason.
        reason: Box<str>,
    },
    /// The function's result is larger than the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The function's error is larger than the limit.
    ErrorTooLarge {
        /// The size of the error in bytes.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A function with `batch` returned another number of results than it was given inputs, so no result
    /// can be assigned to this input.
    WrongLength {
        /// The number of inputs of the batch.
        inputs: u64,
        /// The number of results.
        results: u64,
    },
    /// The call was under way when this process was forked; its result goes to the process that made it.
    Forked,
    /// The worker, or the machine that the call was sent to, sent something that is not a message.
    Protocol {
        /// The violation.
        reason: Box<str>,
    },
    /// Each machine that had the call was lost before it answered: three of them, or one for a function with
    /// `at_most_once`.
    HostsLost {
        /// The machines, as their agents call themselves.
        hosts: Box<[Box<str>]>,
    },
    /// The engine does not know the call any more: it has lost its data, does not keep calls for that long, or has ended
    /// the call because it had not heard of this program for a while.
    Expired,
}

impl Lost {
    /// Returns the error for a call that a machine has handed back although it was asked to go on with it.
    pub(crate) fn handed_back() -> Self {
        Self::Protocol {
            reason: "it handed back a call that it was asked to go on with".into(),
        }
    }

    /// Returns the reason in full.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::NotEncodable { reason } => {
                format!("the result cannot be encoded: {}", or_no_text(reason))
            }
            Self::NotDecodable { reason } => {
                let reason = or_no_text(reason);
                format!("the function ran, but its result cannot be decoded: {reason}")
            }
            Self::TooLarge { limit } => format!(
                "the function ran, but its result is larger than the limit of {limit} bytes \
                 (RETRY_MAX_MESSAGE); write it to a file and return the path, or raise the limit"
            ),
            Self::ErrorTooLarge { size, limit } => format!(
                "the function ran and returned an error of {size} bytes, which is larger than the \
                 limit of {limit} bytes (RETRY_MAX_MESSAGE); return a smaller error, or raise the \
                 limit"
            ),
            Self::WrongLength { inputs, results } => format!(
                "the function returned {results} results for a batch of {inputs} inputs; it has \
                 to return one for each, in their order"
            ),
            Self::Forked => {
                "the call was under way when this process was forked, and its result goes to the \
                 process that has made it"
                    .to_owned()
            }
            Self::Protocol { reason } => format!("the worker broke the protocol: {reason}"),
            Self::HostsLost { hosts } => format!(
                "each machine that had the call was lost before it answered: {}",
                hosts.join(", ")
            ),
            Self::Expired => {
                "the engine does not know the call any more: it has lost its data, does not keep calls for \
                 that long, or has ended the call because it had not heard of this program for a while"
                    .to_owned()
            }
        }
    }
}

/// One line of at most 200 characters.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_a_line(self.told(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[test]
    fn a_panic_is_shortened_to_any_limit() {
        let size = |panic: &Panic| {
            let mut bytes = Vec::new();
            codec::encode(panic, &mut bytes, usize::MAX).unwrap();
            bytes.len()
        };
        for (message, location, backtrace) in [
            (5, 30, 0),
            (5, 30, 3000),
            (3000, 30, 0),
            (3000, 300, 300),
            (3000, 0, 3000),
        ] {
            let within = |limit| {
                Panic::within(
                    limit,
                    &"ä".repeat(message),
                    (location > 0).then(|| "l".repeat(location)),
                    (backtrace > 0).then(|| "b".repeat(backtrace)),
                )
            };
            let whole = within(usize::MAX);
            for limit in (64..size(&whole)).step_by(7) {
                let short = within(limit);
                assert!(size(&short) <= limit, "{} > {limit}", size(&short));
                assert!(!short.message().is_empty());
            }
            let message = whole.message().len();
            if message > location {
                assert_eq!(within(size(&whole)), whole);
            }
        }
        let texts = ["l", "b"].map(|text| Some(text.repeat(30)));
        let [location, backtrace] = texts;
        let short = Panic::within(4096, &"m".repeat(5000), location.clone(), backtrace.clone());
        assert_eq!(short.0.location, location);
        assert_eq!(short.0.backtrace, backtrace);
        assert!(size(&short) > 4096 - 8, "{}", size(&short));
    }
}
