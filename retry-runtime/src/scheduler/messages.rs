//! The messages between the scheduler and the engine: what has happened, and what is to be done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::WorkerKey;
use crate::api::events::Event;
use crate::api::failure::{ExitCause, Lost, Panic, Rejected};
use crate::api::retryable::Retry;
use crate::codec::payload::Payload;
use crate::job::outcome::{CallKey, Outcome};

/// What a worker answered to a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A value, or those of the tickets that follow as well.
    Ok(Payload),
    Err {
        error: Bytes,
        retry: Retry,
    },
    Panicked(Panic),
    Rejected(Rejected),
    Lost(Lost),
    /// It was aborted because the parent asked for that.
    Aborted,
}

/// A worker's answer with the time it took.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) duration: Duration,
    /// How many attempts took so long together.
    pub(crate) timed: u32,
    /// The worker asks to be replaced.
    pub(crate) used_up: bool,
    /// The text of the error, if it is one and has a text.
    pub(crate) error: Option<Box<str>>,
    pub(crate) stderr_tail: Option<Arc<str>>,
}

impl Reply {
    /// Values of which it is not known yet how long they took.
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

/// What a worker shows of its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last ticket that was claimed or taken back.
    pub(crate) claimed: u64,
    /// Part of what was sent has not reached the worker yet.
    pub(crate) is_sending: bool,
    pub(crate) executing: Vec<Executing>,
}

/// A ticket that a worker says it is executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Executing {
    pub(crate) ticket: u64,
    /// `None` where the worker shows no time, or one that is still to come.
    pub(crate) since: Option<Instant>,
}

/// What is left of a worker when its process has ended.
#[derive(Debug)]
pub(crate) struct ExitReport {
    pub(crate) cause: ExitCause,
    /// The last ticket that the worker claimed.
    pub(crate) claimed: u64,
    /// The panic during which the process ended.
    pub(crate) panic: Option<LastPanic>,
    pub(crate) stderr_tail: Option<Arc<str>>,
}

/// A panic that was the end of its process: panics abort, or a panic hook has exited.
#[derive(Debug)]
pub(crate) struct LastPanic {
    /// The ticket that was executed on the thread that panicked; zero if that is not known.
    pub(crate) ticket: u64,
    pub(crate) panic: Panic,
}

/// What the outside is to do.
#[derive(Debug)]
pub(crate) enum Action<P> {
    /// Start a worker.
    Spawn { worker: WorkerKey },
    /// Hand a call to a worker.
    Send {
        worker: WorkerKey,
        ticket: u64,
        call: CallKey,
        attempt: u32,
    },
    /// Take back what the worker has not claimed; answered by [`Scheduler::recalled`].
    Recall { worker: WorkerKey },
    /// See what the worker is doing; answered by [`Scheduler::probed`].
    Probe { worker: WorkerKey },
    /// See how much memory the worker takes; answered by [`Scheduler::measured`].
    Measure { worker: WorkerKey },
    /// Tell a running function that it is to stop.
    Ask { worker: WorkerKey, ticket: u64 },
    /// Stop a running async function where it yields.
    Abort { worker: WorkerKey, ticket: u64 },
    /// Send the worker's process group the signal that asks it to end.
    Terminate { worker: WorkerKey },
    /// Kill the worker's process group.
    Kill { worker: WorkerKey },
    /// Let the worker end in order: it has nothing to do.
    Retire { worker: WorkerKey },
    /// Give a call's outcome to whoever waits for it.
    Resolve { payload: P, outcome: Outcome },
    /// Tell the subscribers.
    Publish(Event),
}

/// Whether everything that workers have sent by now was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Drained,
    Undrained,
}

/// What may have printed what a worker has printed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Printing {
    /// No call.
    Nothing,
    /// The one with this ticket.
    One(u64),
    /// One of several, or several.
    Several,
}

/// A worker answered a ticket that it does not hold.
#[derive(Debug)]
pub(crate) struct UnknownTicket;
