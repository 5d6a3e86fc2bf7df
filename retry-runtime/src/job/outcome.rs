//! How a call ended, as the scheduler, the connection of nested calls and the callers share it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::api::context::{Attempt, CallId};
use crate::api::failure::{
    Cancelled, Crash, CrashLimitExceeded, Lost, Panic, Rejected, Startup, TimedOut,
};
use crate::codec::payload::{self, Payload};

/// A call that is not resolved yet, or the first of a chunk of them. Keys are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallKey {
    pub(crate) index: usize,
    pub(crate) id: CallId,
}

/// How a call ended, or the calls of a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The first call.
    pub(crate) call: CallId,
    pub(crate) result: Result<Payload, Failure>,
    /// Most calls have none: an outcome is moved often, and its place is kept for each call.
    pub(crate) history: Option<Box<History>>,
}

impl Outcome {
    /// It will be kept for a while: what it was part of is not to be kept with it.
    pub(crate) fn detach(&mut self) {
        match &mut self.result {
            Ok(value) => value.detach(),
            Err(Failure::Function(error)) => payload::detach(error),
            Err(_) => {}
        }
    }

    #[cfg(test)]
    pub(crate) fn attempts(&self) -> &[Attempt] {
        let history = self.history.as_ref();
        history.map_or(&[], |history| &history.attempts)
    }
}

/// What is told beside how a call ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) stderr_tail: Option<Arc<str>>,
}

impl History {
    /// What there is to tell, if anything.
    pub(crate) fn of(history: Option<Box<Self>>) -> Self {
        history.map_or_else(Self::default, |history| *history)
    }

    /// Nothing, if there is nothing to tell.
    pub(crate) fn new(attempts: Vec<Attempt>, stderr_tail: Option<Arc<str>>) -> Option<Box<Self>> {
        let any = !attempts.is_empty() || stderr_tail.is_some();
        any.then(|| {
            Box::new(Self {
                attempts,
                stderr_tail,
            })
        })
    }
}

/// Why a call has no result, before its error type is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Panic),
    Crashed(Crash),
    TimedOut(TimedOut),
    Startup(Startup),
    CrashLimit(CrashLimitExceeded),
    Cancelled(Cancelled),
    Rejected(Rejected),
    Lost(Lost),
    /// The error's bytes, which travel by themselves. At the end: serde counts the variants that
    /// it skips when it writes, and not when it reads.
    #[serde(skip)]
    Function(Bytes),
}

/// An outcome for a call that never got as far as the scheduler.
pub(crate) fn rejected(rejected: Rejected) -> Outcome {
    failed(Failure::Rejected(rejected))
}

/// An outcome of which the scheduler does not know.
pub(crate) fn failed(failure: Failure) -> Outcome {
    Outcome {
        call: CallId(0),
        result: Err(failure),
        history: None,
    }
}
