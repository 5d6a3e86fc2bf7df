//! What the outside tells the scheduler about a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::error::{ExitCause, Lost, Panic, Rejected};
use crate::api::retryable::Retry;
use crate::codec::payload::Payload;

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
