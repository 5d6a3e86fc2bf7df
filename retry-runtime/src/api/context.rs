//! The circumstances of a failed call: which function, which input, which attempts.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::api::call_id::CallId;
use crate::api::failure::{ExitCause, Panic, REPORT};
use crate::api::run;

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
    /// The machine that had the call, or its connection, was lost. Whether the call was executing there is not
    /// known.
    HostLost,
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
            Self::HostLost => "host_lost",
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
            Self::HostLost => f.write_str("its machine was lost"),
        }
    }
}

/// One execution of a call, in one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The worker's process id, on the machine that ran the attempt.
    pub worker_pid: Option<u32>,
    /// The name of the machine that ran the attempt, as in [`Event::host`](crate::Event::host). It stays the
    /// same when the attempt is sent to another machine. An attempt whose machine has a name of more than 255
    /// bytes cannot be decoded.
    #[serde(with = "host")]
    pub host: Cow<'static, str>,
    /// The time at which the function was started, on this machine's monotonic clock.
    ///
    /// Machines share no such clock. So an attempt is encoded with its age, in nanoseconds, and the process
    /// that decodes it counts back from its own time: the start is then later than it really was by the time
    /// that the message was on its way or stored. For this reason the order of attempts follows from
    /// `number`, not from starts that were received. A start in the future is encoded with an age of zero.
    #[serde(rename = "age", with = "age")]
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

/// An instant as its age in nanoseconds; zero for an instant in the future.
mod age {
    use std::time::{Duration, Instant};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::sys;

    pub(super) fn serialize<S: Serializer>(start: &Instant, to: S) -> Result<S::Ok, S::Error> {
        let age = sys::nanos_of(start.elapsed());
        age.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
        u64::deserialize(from).map(|age| start_of(Instant::now(), age))
    }

    /// Returns the time that is `age` before `now`. Some systems cannot represent times before their start:
    /// then half of the age is tried, and so on, which ends at `now`.
    pub(super) fn start_of(now: Instant, age: u64) -> Instant {
        let mut ages = std::iter::successors(Some(age), |age| (*age > 0).then_some(age / 2));
        let start = ages.find_map(|age| now.checked_sub(Duration::from_nanos(age)));
        start.unwrap_or(now)
    }
}

/// The name of a machine, with a limit on its length. The name of this machine takes no memory.
mod host {
    use std::borrow::Cow;
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::{Serialize, Serializer};

    use crate::api::run::{self, LONGEST_HOST};

    pub(super) fn serialize<S: Serializer>(name: &str, to: S) -> Result<S::Ok, S::Error> {
        name.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Cow<'static, str>, D::Error> {
        from.deserialize_str(Name)
    }

    struct Name;

    impl Visitor<'_> for Name {
        type Value = Cow<'static, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the name of a machine, of at most {LONGEST_HOST} bytes")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
            if name == run::host() {
                return Ok(run::host().into());
            }
            if name.len() > LONGEST_HOST {
                return Err(E::invalid_length(name.len(), &self));
            }
            Ok(name.to_owned().into())
        }
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

    /// Returns the name of the call: `resize` or, in a map, `resize[812]`.
    pub(crate) fn subject(&self) -> impl fmt::Display + '_ {
        subject(&self.0.function, self.0.input_index)
    }

    /// Returns ` after 4 attempts`, or nothing if there was only one.
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
        write!(f, "\n{REPORT}{}, call {}", self.0.function, self.0.call_id)?;
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
            if attempt.host != run::host() {
                write!(f, " on {}", attempt.host)?;
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

/// Returns the last segment of a registered name.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::call_id::CallNumber;
    use crate::api::run::RunId;
    use crate::codec;

    const MINUTE: Duration = Duration::from_secs(60);

    fn attempt(host: &str, start: Instant) -> Attempt {
        Attempt {
            number: 1,
            worker_pid: Some(4711),
            host: host.to_owned().into(),
            start,
            duration: MINUTE,
            outcome: AttemptOutcome::Failed,
            error: None,
        }
    }

    fn encoded(attempt: &Attempt) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode(attempt, &mut bytes, usize::MAX).unwrap();
        bytes
    }

    /// The bytes contain no reading of a clock: decoded later, they give a later start.
    #[test]
    fn a_start_travels_as_its_age() {
        let start = Instant::now().checked_sub(MINUTE).unwrap();
        let bytes = encoded(&attempt(run::host(), start));
        let mut last = start;
        for _ in 0..3 {
            let received: Attempt = codec::decode_all(&bytes).unwrap();
            assert!(received.start >= last);
            assert!(received.start.elapsed() >= MINUTE);
            last = received.start;
        }
    }

    #[test]
    fn a_start_in_the_future_has_no_age() {
        let begun = Instant::now();
        let bytes = encoded(&attempt(run::host(), begun + 60 * MINUTE));
        let received: Attempt = codec::decode_all(&bytes).unwrap();
        assert!((begun..=Instant::now()).contains(&received.start));
    }

    #[test]
    fn any_age_is_decoded() {
        let now = Instant::now();
        assert_eq!(age::start_of(now, 0), now);
        assert_eq!(now - age::start_of(now, 1000), Duration::from_micros(1));
        assert!(age::start_of(now, u64::MAX) < now);
    }

    #[test]
    fn the_name_of_a_machine_is_kept_up_to_its_limit() {
        let decode = |host: &str| {
            let bytes = encoded(&attempt(host, Instant::now()));
            codec::decode_all::<Attempt>(&bytes).map(|attempt| attempt.host)
        };
        assert!(matches!(decode(run::host()), Ok(Cow::Borrowed(own)) if own == run::host()));
        let longest = "h".repeat(255);
        assert_eq!(decode(&longest).unwrap(), longest);
        let error = decode(&"h".repeat(256)).unwrap_err().to_string();
        assert!(error.contains("255 bytes"), "{error}");
    }

    #[test]
    fn an_attempt_is_the_same_in_json() {
        let sent = attempt("host-b", Instant::now());
        let received: Attempt =
            serde_json::from_str(&serde_json::to_string(&sent).unwrap()).unwrap();
        assert_eq!(received.host, "host-b");
        assert_eq!(received.worker_pid, sent.worker_pid);
    }

    #[test]
    fn a_report_names_other_machines_alone() {
        let report = |host: &str| {
            let attempts = vec![attempt(host, Instant::now())];
            let context = Context::new(
                "shop::resize",
                CallNumber(7).of(RunId::current()),
                None,
                attempts,
                None,
            );
            fmt::from_fn(|f| context.write_report(f, None, false)).to_string()
        };
        assert!(report(run::host()).ends_with("ran 60.000s, worker pid 4711"));
        assert!(report("host-b").ends_with("worker pid 4711 on host-b"));
    }
}
