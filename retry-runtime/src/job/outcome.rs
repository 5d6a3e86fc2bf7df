//! The outcome of a call, in the form that the scheduler, the connection for nested calls and the callers
//! share.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::api::call_id::CallNumber;
use crate::api::context::Attempt;
use crate::api::events::{CallOutcome, EventKind, FailureDetails};
use crate::api::excerpt::one_line;
use crate::api::failure::{
    Cancelled, Crash, CrashLimitExceeded, Lost, Panic, Rejected, Startup, TimedOut,
};
use crate::codec::payload::{self, Payload};
use crate::job::call_site::CallSite;
use crate::job::resumption::Resumption;

/// Identifies an unresolved call, or the first of a chunk of them. Keys are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallKey {
    pub(crate) index: usize,
    pub(crate) id: CallNumber,
}

/// The outcome of a call, or of the calls of a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The first call.
    pub(crate) call: CallNumber,
    pub(crate) result: Result<Payload, Failure>,
    /// Boxed because most calls have none: outcomes are moved often, and space is reserved for each call.
    pub(crate) history: Option<Box<History>>,
}

impl Outcome {
    /// Detaches the payload from the buffer it is part of, because the outcome will be kept for a while.
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

/// Additional information about how a call ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) stderr_tail: Option<Arc<str>>,
}

impl History {
    /// Returns the history, or an empty one.
    pub(crate) fn of(history: Option<Box<Self>>) -> Self {
        history.map_or_else(Self::default, |history| *history)
    }

    /// Returns `None` if there is nothing to record.
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

/// The reason for which a call has no result, before its error type is known.
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
    /// The call goes on elsewhere: its next attempt is due too late to be waited for, or the machine that had it
    /// drains. No caller sees this.
    HandedBack(Box<Resumption>),
    /// The encoded error, which is sent separately. This variant must be the last one: serde counts skipped
    /// variants when it writes, but not when it reads.
    #[serde(skip)]
    Function(Bytes),
}

impl Failure {
    /// Returns the event of the call's end. `last` is the call's last attempt, `called` the line that made it, `input`
    /// its arguments as text.
    pub(crate) fn finished(
        &self,
        last: Option<&Attempt>,
        called: Option<&CallSite>,
        input: Option<Box<str>>,
        stderr_tail: Option<&str>,
    ) -> EventKind {
        let (outcome, reason) = self.describe(last);
        EventKind::Finished {
            outcome,
            reason: Some(reason.into()),
            ran: None,
            ran_of: 0,
            details: Some(Box::new(FailureDetails {
                input,
                called: called.map(|line| line.to_string().into()),
                stderr_tail: stderr_tail.map(Into::into),
                panicked_at: self.panicked_at(),
            })),
        }
    }

    /// Returns the place of the panic that ended the call, if it is known.
    fn panicked_at(&self) -> Option<Box<str>> {
        match self {
            Self::Panicked(panic) => panic.location().map(Into::into),
            _ => None,
        }
    }

    /// Returns the kind of end, and one line about its cause. `last` is the call's last attempt.
    pub(crate) fn describe(&self, last: Option<&Attempt>) -> (CallOutcome, String) {
        let error = || {
            last.and_then(|last| last.error.as_deref())
                .unwrap_or_default()
        };
        let (outcome, reason) = match self {
            Self::Function(_) => (CallOutcome::Failed, error().to_owned()),
            Self::Panicked(panic) => (CallOutcome::Panicked, panic.told().to_owned()),
            Self::Crashed(crash) => (CallOutcome::Crashed, crash.told()),
            Self::TimedOut(timed_out) => (CallOutcome::TimedOut, timed_out.to_string()),
            Self::Startup(startup) => (CallOutcome::Startup, startup.told()),
            Self::CrashLimit(exceeded) => (CallOutcome::CrashLimit, exceeded.to_string()),
            Self::Cancelled(cancelled) => (CallOutcome::Cancelled, cancelled.to_string()),
            Self::Rejected(rejected) => (CallOutcome::Rejected, rejected.told()),
            Self::Lost(lost) => (CallOutcome::Lost, lost.told()),
            Self::HandedBack(_) => (CallOutcome::Lost, Lost::handed_back().told()),
        };
        (outcome, one_line(&reason))
    }
}

/// Returns the outcome of a call that never reached the scheduler.
pub(crate) fn rejected(rejected: Rejected) -> Outcome {
    failed(Failure::Rejected(rejected))
}

/// Returns the outcome of a failed call that no scheduler knows of.
pub(crate) fn failed(failure: Failure) -> Outcome {
    unscheduled(Err(failure))
}

/// Returns the outcome of a call whose result is known without executing it.
pub(crate) fn known(value: Bytes) -> Outcome {
    unscheduled(Ok(Payload::One(value)))
}

fn unscheduled(result: Result<Payload, Failure>) -> Outcome {
    Outcome {
        call: CallNumber::NONE,
        result,
        history: None,
    }
}
