//! Events: the stream of everything that happens to calls and workers.
//!
//! [`events()`](crate::events()) subscribes to the default runtime,
//! [`Runtime::events`](crate::Runtime::events) to a separate one. Logs, reports and summaries read this
//! stream.

mod subscription;

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::api::call_id::CallId;
use crate::api::context::AttemptOutcome;
use crate::api::failure::ExitCause;
use crate::api::run::{RunId, host};

pub use subscription::Events;
pub(crate) use subscription::{Interest, Publisher, Record, RecordEvents, Subscriber};

/// One of a worker's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timestamp {
    /// The time on the system's clock, which may be set back or forward meanwhile.
    pub wall: SystemTime,
    /// The time since the run began, on the monotonic clock.
    pub elapsed: Duration,
}

impl Timestamp {
    pub(crate) fn new(wall: SystemTime, elapsed: Duration) -> Self {
        Self { wall, elapsed }
    }
}

/// A worker of a runtime, by a number that no other worker of the runtime gets: `w3` is the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(u64);

impl WorkerId {
    pub(crate) fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number of the worker, counted from 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// Something that happened to a call or a worker.
///
/// `Event` implements `serde::Serialize`: it becomes an object as in the [event log](crate::events::Log).
///
/// ```no_run
/// use retry_runtime::events::EventKind;
///
/// for event in retry_runtime::events() {
///     if let EventKind::Finished { reason: Some(reason), .. } = &event.kind {
///         eprintln!("{} failed: {reason}", event.function);
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The run, which is the same for all events of a process.
    pub run: RunId,
    /// The name of the machine.
    pub host: &'static str,
    /// The time at which the runtime learned of it.
    pub at: Timestamp,
    /// The registered name of the function, or of the service for events of its workers. Empty where the event
    /// concerns no function.
    pub function: &'static str,
    /// The call, for events of calls and for output of which it is certain which call has printed it.
    pub call: Option<CallId>,
    /// The call that made this one, if it is a nested call.
    pub parent: Option<CallId>,
    /// The position of the input in its map, counted from zero.
    pub input_index: Option<u64>,
    /// The number of the attempt, counted from 1.
    pub attempt: Option<u32>,
    /// The worker.
    pub worker: Option<WorkerId>,
    /// The worker's process id.
    pub worker_pid: Option<u32>,
    /// The rest, which depends on what has happened.
    pub kind: EventKind,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// A call was submitted.
    Queued,
    /// An attempt was handed to a worker. The function is entered when the worker has done what it was given
    /// before.
    #[non_exhaustive]
    Started {
        /// The time that the call has waited for a worker, since it was submitted or since the delay before
        /// this attempt was over.
        queued: Duration,
    },
    /// An attempt has run for half of its timeout, and goes on. Attempts without a timeout have no such event.
    /// An attempt has it once, and once more if it is run again because its worker ended for a reason that was
    /// not its own.
    #[non_exhaustive]
    Slow {
        /// The time that the function has run so far.
        elapsed: Duration,
        /// The timeout of the attempt.
        timeout: Duration,
        /// The number of attempts after which the call is given up, as far as its retries decide.
        max_attempts: u32,
    },
    /// An attempt has run for its whole timeout, and was asked to end. [`AttemptFailed`](Self::AttemptFailed)
    /// follows when it has ended. An attempt without a grace is killed at once, and has no such event.
    #[non_exhaustive]
    Terminating {
        /// The timeout of the attempt.
        timeout: Duration,
        /// The time that the function has to end before its worker is killed.
        grace: Duration,
        /// The number of attempts after which the call is given up, as far as its retries decide.
        max_attempts: u32,
    },
    /// An attempt ended without a result. Either [`Retrying`](Self::Retrying) or [`Finished`](Self::Finished)
    /// follows.
    #[non_exhaustive]
    AttemptFailed {
        /// The end of the attempt.
        outcome: AttemptOutcome,
        /// The first line of the error's or the panic's text, in at most 200 bytes.
        error: Option<Box<str>>,
        /// The time that the function ran.
        ran: Duration,
    },
    /// The call waits before it is run again.
    #[non_exhaustive]
    Retrying {
        /// The time to wait; zero if the call was queued again at once.
        delay: Duration,
        /// The number of attempts after which the call is given up, as far as its retries decide.
        max_attempts: u32,
    },
    /// A call has its result or its error.
    #[non_exhaustive]
    Finished {
        /// The kind of result.
        outcome: CallOutcome,
        /// One line about the cause if there is no result.
        reason: Option<Box<str>>,
        /// The time that the function ran in a successful attempt. Inputs of a map that take less than a
        /// millisecond are answered together, with one time for all: the last of them has their mean, and the
        /// others have `None`.
        ran: Option<Duration>,
        /// The number of inputs that `ran` is the mean of.
        ran_of: u32,
        /// Facts about a call without a result.
        details: Option<Box<FailureDetails>>,
    },
    /// A worker process was started; its set-up begins.
    WorkerStarting,
    /// A worker is ready.
    #[non_exhaustive]
    WorkerUp {
        /// The time from the decision to start the worker until it was ready.
        set_up: Duration,
    },
    /// A worker did not become ready: its set-up failed, it ended during the set-up, or its process could not be
    /// started. If there was a process, [`WorkerDown`](Self::WorkerDown) comes before this event.
    #[non_exhaustive]
    SetUpFailed {
        /// One line about the cause.
        reason: Box<str>,
        /// The time from the decision to start the worker until it was given up.
        elapsed: Duration,
        /// `true` if calls go on waiting for a worker of the function, so that a start is tried again. Otherwise
        /// no call was waiting, or those that were have failed because of this start.
        tries_again: bool,
    },
    /// A worker has ended. A worker that was killed may be replaced before its process has ended, so the next
    /// worker may be up before this event.
    #[non_exhaustive]
    WorkerDown {
        /// The end of the process.
        cause: ExitCause,
    },
    /// A process that a worker's functions started outlives the worker and could not be killed: it belongs to
    /// another user, or the kernel does not end it.
    #[non_exhaustive]
    ProcessLeft {
        /// The process.
        pid: u32,
    },
    /// A worker wrote a line.
    #[non_exhaustive]
    Output {
        /// The stream.
        stream: Stream,
        /// The line without its end.
        line: String,
    },
    /// The subscriber was too slow and missed events.
    #[non_exhaustive]
    Lagged {
        /// The number of events that it missed.
        missed: u64,
    },
}

/// Facts about a call that ended without a result, beyond its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureDetails {
    /// The arguments as their `Debug` shows them, in at most 200 characters; those without `Debug`, and those
    /// that the attribute [redacts](macro@crate::function), are left out. `None` with `RETRY_SHOW_INPUTS=0`.
    pub input: Option<Box<str>>,
    /// The line of the program that made the call, as `src/main.rs:41:22`.
    pub called: Option<Box<str>>,
    /// The last lines that the worker of the last attempt wrote to its standard error.
    pub stderr_tail: Option<Box<str>>,
    /// The place of the panic that ended the call, as `src/main.rs:12:5`, if it is known.
    pub panicked_at: Option<Box<str>>,
}

/// The end of a call: a variant for each of [`CallError`](crate::CallError), and one for results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallOutcome {
    /// The function returned; if it returns a `Result`, it returned `Ok`.
    Succeeded,
    /// The function returned `Err`.
    Failed,
    /// The function panicked.
    Panicked,
    /// The worker died.
    Crashed,
    /// A timeout or the deadline ended the call.
    TimedOut,
    /// No worker could be started.
    Startup,
    /// The function's workers crash too often.
    CrashLimit,
    /// The call was cancelled.
    Cancelled,
    /// The call was not accepted.
    Rejected,
    /// The function ran, and its result was lost.
    Lost,
}

impl CallOutcome {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Succeeded, "succeeded"),
        (Self::Failed, "failed"),
        (Self::Panicked, "panicked"),
        (Self::Crashed, "crashed"),
        (Self::TimedOut, "timed_out"),
        (Self::Startup, "startup"),
        (Self::CrashLimit, "crash_limit"),
        (Self::Cancelled, "cancelled"),
        (Self::Rejected, "rejected"),
        (Self::Lost, "lost"),
    ];

    /// Returns the name that event logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(outcome, _)| *outcome == self);
        found.map_or("", |(_, name)| name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(outcome, _)| *outcome)
    }
}

impl Event {
    /// Creates an event that concerns neither a call nor a worker. The [publisher](Publisher) sets its time.
    pub(crate) fn new(function: &'static str, kind: EventKind) -> Self {
        Self {
            run: RunId::current(),
            host: host(),
            at: Timestamp::new(SystemTime::UNIX_EPOCH, Duration::ZERO),
            function,
            call: None,
            parent: None,
            input_index: None,
            attempt: None,
            worker: None,
            worker_pid: None,
            kind,
        }
    }

    /// Returns the same event for the call that is `by` calls later, whose input is as much later in the map.
    pub(crate) fn later(&self, by: u32) -> Self {
        let mut event = self.clone();
        event.call = self.call.map(|call| call.later(by));
        event.input_index = self.input_index.map(|index| index + u64::from(by));
        event
    }

    /// Returns whether the call has its result or its error.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.kind, EventKind::Finished { .. })
    }
}
