//! The circumstances of a failed call: which function, which input, which attempts.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::api::failure::{ExitCause, Panic};

/// The beginning of the first line of a report below its headline.
pub(crate) const REPORT: &str = "    function  ";

/// Returns the lines of a worker's standard error without those that a panic hook has written about a
/// panic: the place, the message, and the backtrace.
fn without_panic<'a>(tail: &'a str, panic: &Panic) -> Vec<&'a str> {
    let Some(location) = panic.location() else {
        return tail.lines().collect();
    };
    let place = format!("panicked at {location}:");
    let is_frame = |line: &str| {
        let line = line.trim_start();
        let number = line.split(": ").next().unwrap_or_default();
        line.starts_with("at ") || number.parse::<u32>().is_ok()
    };
    let mut kept = Vec::new();
    let mut lines = tail.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with(&place) {
            kept.push(line);
            continue;
        }
        for of_message in panic.message().lines() {
            if lines
                .next_if(|line| line.trim_end() == of_message.trim_end())
                .is_none()
            {
                break;
            }
        }
        if lines.next_if_eq(&"stack backtrace:").is_some() {
            while lines.next_if(|line| is_frame(line)).is_some() {}
        }
        while lines.next_if(|line| line.starts_with("note: ")).is_some() {}
    }
    kept
}

/// The number of attempts that a context remembers: the last ones.
const REMEMBERED_ATTEMPTS: usize = 32;

/// The id of a call, unique within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallId(pub(crate) u64);

/// Marks the calls that are made in workers.
const NESTED: u64 = 1 << 63;

impl CallId {
    /// The identity of a call that is made in a worker: unique among those of all workers.
    pub(crate) fn nested(worker: u64, number: u32) -> Self {
        Self(NESTED | worker << 32 | u64::from(number))
    }

    /// Returns this id and those that follow it.
    pub(crate) fn following(self, count: u32) -> impl Iterator<Item = Self> {
        (self.0..self.0 + u64::from(count)).map(Self)
    }

    /// Returns the call's number among the calls of its process.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half is the process"
    )]
    pub(crate) fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for CallId {
    /// `call-7`, or `call-3.7` for the seventh call that was made in the third worker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & NESTED == 0 {
            return write!(f, "call-{}", self.0);
        }
        let worker = (self.0 & !NESTED) >> 32;
        write!(f, "call-{worker}.{}", self.number())
    }
}

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The function returned `Err`.
    Failed,
    /// The function panicked.
    Panicked,
    /// The worker died while it was executing the call.
    Crashed(ExitCause),
    /// The attempt was stopped when it had been executing for this long.
    TimedOut(Duration),
    /// The attempt was stopped because its call was cancelled.
    Cancelled,
    /// The worker's answer was not a result.
    Lost,
}

impl AttemptOutcome {
    /// Returns the name that event logs use.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Crashed(_) => "crashed",
            Self::TimedOut(_) => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed => f.write_str("failed"),
            Self::Panicked => f.write_str("panicked"),
            Self::Crashed(cause) => write!(f, "{}", cause.during_call()),
            Self::TimedOut(limit) => write!(f, "timed out after {limit:?}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Lost => f.write_str("lost"),
        }
    }
}

/// One execution of a call, in one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The worker's process id.
    pub worker_pid: Option<u32>,
    /// The time at which the function was started, on the monotonic clock.
    #[serde(with = "instant")]
    pub start: Instant,
    /// The time that the function ran, with the decoding of its arguments and the encoding of its result, and
    /// without the time to report a failure (the panic hook, backtraces, the texts of an error) and the time
    /// for which the program was suspended by Ctrl-Z.
    pub duration: Duration,
    /// The end of the attempt.
    pub outcome: AttemptOutcome,
    /// The text of the error or panic that ended the attempt: the first line of its `Display`, or of its
    /// `Debug` if it has no `Display`, in at most 200 bytes. `None` if the attempt ended in another way, or
    /// if the error has neither.
    pub error: Option<Box<str>>,
}

/// The circumstances of a failed call, part of every [`CallError`](crate::CallError).
///
/// ```standalone_crate
/// use retry_runtime::error::AttemptOutcome;
/// use retry_runtime::function;
///
/// #[function(retries(max_retries = 2, initial_delay = "1ms"))]
/// fn fail(text: &str) -> Result<(), String> {
///     eprintln!("giving up on {text}");
///     Err(text.to_owned())
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let error = fail.remote("page 3").wait().unwrap_err();
///     let context = error.context();
///     assert_eq!(context.function(), fail.name());
///     assert_eq!(context.input_index(), None); // a single call
///     assert_eq!(context.attempts().len(), 3);
///     for attempt in context.attempts() {
///         assert_eq!(attempt.outcome, AttemptOutcome::Failed);
///         assert_eq!(attempt.error.as_deref(), Some("page 3"));
///     }
///     println!("{}", context.stderr_tail());
/// }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Context(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    function: Cow<'static, str>,
    call_id: CallId,
    input_index: Option<u64>,
    attempts: Vec<Attempt>,
    #[serde(with = "text")]
    stderr_tail: Option<Arc<str>>,
}

/// An instant as nanoseconds on the monotonic clock, which all processes of a machine share.
mod instant {
    use std::time::Instant;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::sys;

    pub(super) fn serialize<S: Serializer>(at: &Instant, to: S) -> Result<S::Ok, S::Error> {
        let ago = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        sys::monotonic_nanos().saturating_sub(ago).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
        u64::deserialize(from).map(sys::instant_of)
    }
}

/// Serialises a shared text as a text.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Arc::from))
    }
}

impl Context {
    pub(crate) fn new(
        function: &'static str,
        call_id: CallId,
        input_index: Option<u64>,
        attempts: Vec<Attempt>,
        stderr_tail: Option<Arc<str>>,
    ) -> Self {
        Self(Box::new(Inner {
            function: function.into(),
            call_id,
            input_index,
            attempts,
            stderr_tail,
        }))
    }

    /// Returns the function's registered name.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.0.function
    }

    /// Returns the id of the call.
    #[must_use]
    pub fn call_id(&self) -> CallId {
        self.0.call_id
    }

    /// Returns the position of the input in its map, counted from zero; `None` for a single call.
    #[must_use]
    pub fn input_index(&self) -> Option<u64> {
        self.0.input_index
    }

    /// Returns the attempts, oldest first: all of them up to 32, then the last 32.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }

    /// Returns the last lines that the worker of the last attempt wrote to its standard error, as far as
    /// they are known.
    #[must_use]
    pub fn stderr_tail(&self) -> &str {
        self.0.stderr_tail.as_deref().unwrap_or("")
    }

    /// `resize` or, in a map, `resize[812]`.
    pub(crate) fn subject(&self) -> impl fmt::Display + '_ {
        subject(&self.0.function, self.0.input_index)
    }

    /// ` after 4 attempts`, or nothing where there was no more than one.
    pub(crate) fn after_attempts(&self) -> impl fmt::Display + '_ {
        struct After<'a>(&'a Inner);
        impl fmt::Display for After<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0.attempts.last() {
                    Some(last) if last.number > 1 => write!(f, " after {} attempts", last.number),
                    _ => Ok(()),
                }
            }
        }
        After(&self.0)
    }

    /// Writes the lines of a report below its headline. Leaves out the error of the last attempt if the
    /// headline has it, and the panic from the worker's output.
    pub(crate) fn write_report(
        &self,
        f: &mut fmt::Formatter<'_>,
        panic: Option<&Panic>,
        is_told: bool,
    ) -> fmt::Result {
        let last = self.0.attempts.last().filter(|_| is_told);
        let told = last.and_then(|last| last.error.as_ref());
        write!(f, "\n{REPORT}{}, {}", self.0.function, self.0.call_id)?;
        for (position, attempt) in self.0.attempts.iter().enumerate() {
            let label = if position == 0 { "attempts" } else { "" };
            write!(
                f,
                "\n    {label:<8}  {}  {}, ran {:.3?}",
                attempt.number, attempt.outcome, attempt.duration
            )?;
            if let Some(pid) = attempt.worker_pid {
                write!(f, ", worker pid {pid}")?;
            }
            let Some(error) = &attempt.error else {
                continue;
            };
            let mut earlier = self.0.attempts[..position].iter();
            let earlier = earlier.find(|one| one.error == attempt.error);
            match earlier {
                _ if Some(error) == told => {}
                Some(earlier) => write!(f, ": as attempt {}", earlier.number)?,
                None => write!(f, ": {error}")?,
            }
        }
        let tail = match panic {
            Some(panic) => without_panic(self.stderr_tail(), panic),
            None => self.stderr_tail().lines().collect(),
        };
        let begin = tail.iter().position(|line| !line.trim().is_empty());
        let tail = &tail[begin.unwrap_or(tail.len())..];
        if !tail.is_empty() {
            f.write_str("\n    stderr    (last lines of the last attempt's worker)")?;
            for line in tail {
                write!(f, "\n      {}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("function", &self.0.function)
            .field("call_id", &self.0.call_id)
            .field("input_index", &self.0.input_index)
            .field("attempts", &self.0.attempts)
            .field("stderr_tail", &self.stderr_tail())
            .finish()
    }
}

/// Appends an attempt, forgetting the oldest where there are too many to keep.
pub(crate) fn remember(attempts: &mut Vec<Attempt>, attempt: Attempt) {
    if attempts.len() == REMEMBERED_ATTEMPTS {
        attempts.remove(0);
    }
    attempts.push(attempt);
}

/// The last segment of a registered name.
pub(crate) fn short_name(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Returns the name of a call: `resize` or, in a map, `resize[812]`.
pub(crate) fn subject(function: &str, index: Option<u64>) -> impl fmt::Display {
    let name = short_name(function);
    fmt::from_fn(move |f| match index {
        Some(index) => write!(f, "{name}[{index}]"),
        None => f.write_str(name),
    })
}
