//! Messages between the scheduler and the local engine: events that come in, and actions that go out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::WorkerKey;
use crate::api::call_id::CallNumber;
use crate::api::events::Record;
use crate::api::failure::{ExitCause, Lost, Panic, Rejected};
use crate::api::retryable::Retry;
use crate::codec::payload::Payload;
use crate::job::outcome::{CallKey, Outcome};

/// A worker's answer to a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The value of a ticket, or the values of several consecutive tickets.
    Ok(Payload),
    Err {
        error: Bytes,
        retry: Retry,
    },
    Panicked(Panic),
    Rejected(Rejected),
    Lost(Lost),
    /// The worker aborted the call because the parent asked for it.
    Aborted,
}

/// A worker's answer, with the duration of the attempt.
#[derive(Debug)]
pub(crate) struct AnswerReport {
    pub(crate) answer: Answer,
    pub(crate) duration: Duration,
    /// The number of attempts that `duration` is the total of; zero if it is not known yet.
    pub(crate) timed: u32,
    /// `true` if the worker asks to be replaced.
    pub(crate) used_up: bool,
    /// The text of the error, if the answer is an error with a text.
    pub(crate) error: Option<Box<str>>,
    pub(crate) stderr_tail: Option<Arc<str>>,
}

impl AnswerReport {
    /// Creates a report of values whose duration is not known yet.
    pub(crate) fn untimed(values: Payload) -> Self {
        Self {
            answer: Answer::Ok(values),
            duration: Duration::ZERO,
            timed: 0,
            used_up: false,
            error: None,
            stderr_tail: None,
        }
    }
}

/// A snapshot of what a worker publishes about its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last ticket that was claimed or recalled.
    pub(crate) claimed: u64,
    /// `true` while some of the sent calls have not reached the worker yet.
    pub(crate) is_sending: bool,
    pub(crate) executing: Vec<Executing>,
    /// The ticket that occupies the thread of a worker which executes several; `None` if that is not known.
    pub(crate) polled: Option<u64>,
}

/// A ticket that a worker says it is executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Executing {
    pub(crate) ticket: u64,
    /// The start of the execution; `None` if the worker shows no time or one in the future.
    pub(crate) since: Option<Instant>,
}

/// The report on a worker whose process has ended.
#[derive(Debug)]
pub(crate) struct ExitReport {
    pub(crate) cause: ExitCause,
    /// The last ticket that the worker claimed.
    pub(crate) claimed: u64,
    /// Set if the worker ended because its agent was stopped for too long, whatever it was executing.
    pub(crate) has_outlived_lease: bool,
    /// The panic during which the process ended.
    pub(crate) panic: Option<LastPanic>,
    pub(crate) stderr_tail: Option<Arc<str>>,
}

/// A panic that ended its process, because panics abort or a panic hook exited.
#[derive(Debug)]
pub(crate) struct LastPanic {
    /// The ticket that the panicking thread was executing; zero if that is not known.
    pub(crate) ticket: u64,
    pub(crate) panic: Panic,
}

/// A decision of the scheduler that the local engine carries out.
#[derive(Debug)]
pub(crate) enum Action<P> {
    /// Start a worker.
    Spawn { worker: WorkerKey },
    /// Send a call to a worker.
    Send {
        worker: WorkerKey,
        ticket: u64,
        call: CallKey,
        attempt: u32,
    },
    /// Recall the tickets that the worker has not claimed; answered by
    /// [`handle_recall`](super::Scheduler::handle_recall).
    Recall { worker: WorkerKey },
    /// Read what the worker is executing; answered by [`handle_progress`](super::Scheduler::handle_progress).
    Probe { worker: WorkerKey },
    /// Measure the worker's memory; answered by [`handle_memory`](super::Scheduler::handle_memory).
    Measure { worker: WorkerKey },
    /// Ask a running function to stop, through its cancellation token.
    Ask { worker: WorkerKey, ticket: u64 },
    /// Abort a running async function at its next yield.
    Abort { worker: WorkerKey, ticket: u64 },
    /// Send the worker's process group the signal that asks it to end.
    Terminate { worker: WorkerKey },
    /// Kill the worker's process group.
    Kill { worker: WorkerKey },
    /// Tell an idle worker to tear down and exit.
    Retire { worker: WorkerKey },
    /// Deliver the outcome of a call to its target.
    Resolve { payload: P, outcome: Outcome },
    /// Publish an event to the subscribers. Boxed, since it is large and rare.
    Publish(Box<Record>),
}

/// The state of incoming messages: whether the local engine has taken in everything that workers have
/// sent by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Drained,
    Undrained,
}

/// The call to which a worker's latest output can be attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printing {
    /// No call.
    Nothing,
    /// The call with this ticket.
    One(u64),
    /// One or more of several calls.
    Several,
}

/// A call that a worker is executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunningCall {
    pub(crate) id: CallNumber,
    pub(crate) function: &'static str,
    pub(crate) index: Option<u64>,
    pub(crate) attempt: u32,
}

/// The calls by their state, for a person who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overview {
    pub(crate) executing: usize,
    /// The number of calls that wait for a worker.
    pub(crate) queued: usize,
    /// The number of calls that wait for their next attempt, and the time of the first of these.
    pub(crate) delayed: usize,
    pub(crate) next_retry: Option<Instant>,
    /// The number of calls that have a result or an error.
    pub(crate) done: u64,
}

/// The error for a worker's answer to a ticket that it does not hold.
#[derive(Debug)]
pub(crate) struct UnknownTicket;
