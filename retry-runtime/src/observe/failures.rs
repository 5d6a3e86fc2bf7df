//! The failed attempts of calls that have not ended, and failures in groups of the same cause, with an example
//! each: for status lines, summaries and reports.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::attempts::AttemptWorker;
use crate::api::call_id::CallNumber;
use crate::api::context::{self, AttemptOutcome};
use crate::api::events::{CallOutcome, Event, EventKind, FailureDetails};
use crate::api::excerpt::excerpt;
use crate::api::failure::ExitCause;

/// Greatest number of groups. Failures of further kinds are only counted.
const GROUPS: usize = 200;

/// Number of attempts of a call that are kept, the last ones.
const ATTEMPTS: usize = 10;

/// The longest text of an example, in bytes.
const MAX_EXAMPLE_BYTES: usize = 2000;

/// The lines of standard error that an example has at most, in bytes.
const MAX_STDERR_BYTES: usize = 4000;

/// Failures by function, kind of end and cause.
type Key = (&'static str, &'static str, String);

/// A failed attempt of a call.
#[derive(Clone, Debug)]
pub(super) struct FailedAttempt {
    pub(super) number: u32,
    pub(super) outcome: AttemptOutcome,
    pub(super) error: Option<Box<str>>,
    pub(super) ran: Duration,
    pub(super) worker: AttemptWorker,
    /// The delay before the next attempt.
    pub(super) delay: Option<Duration>,
}

impl FailedAttempt {
    /// Returns the attempt whose failure an event reports.
    fn of(event: &Event) -> Option<Self> {
        let EventKind::AttemptFailed {
            outcome,
            error,
            ran,
        } = &event.kind
        else {
            return None;
        };
        Some(Self {
            number: event.attempt.unwrap_or(1),
            outcome: outcome.clone(),
            error: error.clone(),
            ran: *ran,
            worker: AttemptWorker::of(event),
            delay: None,
        })
    }
}

/// The failed attempts of the calls that have not ended.
#[derive(Debug, Default)]
pub(super) struct OpenCalls(HashMap<CallNumber, Vec<FailedAttempt>>);

impl OpenCalls {
    /// Notes the attempt whose failure an event reports.
    pub(super) fn add(&mut self, event: &Event, call: CallNumber) {
        let Some(attempt) = FailedAttempt::of(event) else {
            return;
        };
        let attempts = self.0.entry(call).or_default();
        if attempts.len() == ATTEMPTS {
            attempts.remove(0);
        }
        attempts.push(attempt);
    }

    /// Notes that the last attempt of a call will be repeated, and returns it.
    pub(super) fn repeat(&mut self, call: CallNumber, delay: Duration) -> Option<&FailedAttempt> {
        let last = self.0.get_mut(&call)?.last_mut()?;
        last.delay = Some(delay);
        Some(last)
    }

    /// Takes the failed attempts of a call that has ended.
    pub(super) fn end(&mut self, call: CallNumber) -> Vec<FailedAttempt> {
        self.0.remove(&call).unwrap_or_default()
    }

    /// Returns the number of calls with a failed attempt.
    #[cfg(all(test, feature = "report"))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The end of calls without a result.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) outcome: CallOutcome,
    pub(super) reason: &'a str,
    pub(super) details: Option<&'a FailureDetails>,
}

impl<'a> End<'a> {
    /// Returns the end that an event reports, unless it is a success.
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        match &event.kind {
            EventKind::Finished {
                outcome,
                reason,
                details,
                ..
            } if *outcome != CallOutcome::Succeeded => Some(Self {
                outcome: *outcome,
                reason: reason.as_deref().unwrap_or_default(),
                details: details.as_deref(),
            }),
            _ => None,
        }
    }

    /// Returns the part of the cause by which failures are grouped: texts may contain the input, and so differ
    /// from call to call.
    fn cause(&self, attempts: &[FailedAttempt]) -> String {
        let last = attempts.last().map(|last| &last.outcome);
        match (self.outcome, last) {
            (CallOutcome::Crashed, Some(outcome @ AttemptOutcome::Crashed(_))) => word(outcome),
            (CallOutcome::Crashed, _) => String::new(),
            _ => without_numbers(self.reason),
        }
    }
}

/// One of the failures of a group.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "report"), allow(dead_code))]
pub(super) struct Example {
    /// The function, and the input in its map.
    pub(super) subject: String,
    pub(super) reason: String,
    pub(super) input: Option<String>,
    pub(super) called: Option<String>,
    pub(super) panicked_at: Option<String>,
    pub(super) stderr: Option<String>,
    pub(super) attempts: Vec<FailedAttempt>,
}

/// Failures of the same function, kind and cause.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "report"), allow(dead_code))]
pub(super) struct Group {
    pub(super) function: &'static str,
    /// The kind of end, with the signal or code of a crash.
    pub(super) kind: String,
    pub(super) count: u64,
    pub(super) first: Duration,
    pub(super) last: Duration,
    pub(super) example: Example,
}

/// Groups of failures.
#[derive(Debug, Default)]
pub(super) struct Groups {
    known: BTreeMap<Key, Group>,
    /// The number of failures that are in no group.
    others: u64,
}

impl Groups {
    /// Adds the end of calls without a result. Returns how many calls were in the group before; `None` if there
    /// are too many groups for another one.
    pub(super) fn add_call(
        &mut self,
        event: &Event,
        count: u64,
        end: &End<'_>,
        attempts: &[FailedAttempt],
    ) -> Option<u64> {
        let cause = end.cause(attempts);
        self.add(event, count, end.outcome.as_str(), cause, || {
            let text =
                |text: Option<&str>| text.map(|text| excerpt(text, MAX_EXAMPLE_BYTES).into_owned());
            let details = end.details;
            let stderr = details.and_then(|details| details.stderr_tail.as_deref());
            Example {
                subject: subject(event),
                reason: excerpt(end.reason, MAX_EXAMPLE_BYTES).into_owned(),
                input: text(details.and_then(|details| details.input.as_deref())),
                called: text(details.and_then(|details| details.called.as_deref())),
                panicked_at: text(details.and_then(|details| details.panicked_at.as_deref())),
                stderr: stderr.map(|stderr| last_part(stderr, MAX_STDERR_BYTES).to_owned()),
                attempts: attempts.to_vec(),
            }
        })
    }

    /// Adds an attempt that will be repeated.
    #[cfg(feature = "report")]
    pub(super) fn add_retry(&mut self, event: &Event, last: &FailedAttempt) {
        let error = last.error.as_deref().unwrap_or_default();
        let cause = match &last.outcome {
            outcome @ AttemptOutcome::Crashed(_) => word(outcome),
            _ => without_numbers(error),
        };
        self.add(event, 1, last.outcome.name(), cause, || Example {
            subject: subject(event),
            reason: match (&last.outcome, error.is_empty()) {
                (AttemptOutcome::Crashed(cause), _) => cause.to_string(),
                (outcome, true) => outcome.name().replace('_', " "),
                (_, false) => error.to_owned(),
            },
            attempts: vec![last.clone()],
            ..Example::default()
        });
    }

    fn add(
        &mut self,
        event: &Event,
        count: u64,
        outcome: &'static str,
        cause: String,
        example: impl FnOnce() -> Example,
    ) -> Option<u64> {
        let key = (event.function, outcome, cause);
        let at = event.at.elapsed;
        if !self.known.contains_key(&key) && self.known.len() >= GROUPS {
            self.others += count;
            return None;
        }
        let kind = match outcome {
            "crashed" if !key.2.is_empty() => key.2.clone(),
            outcome => outcome.replace('_', " "),
        };
        let group = self.known.entry(key).or_insert_with(|| Group {
            function: event.function,
            kind,
            count: 0,
            first: at,
            last: at,
            example: example(),
        });
        let before = group.count;
        group.count += count;
        group.last = at;
        Some(before)
    }

    /// Returns the groups, the largest one first.
    pub(super) fn sorted(&self) -> Vec<&Group> {
        let mut groups: Vec<_> = self.known.values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }

    /// Returns the number of groups.
    #[cfg(all(test, feature = "report"))]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns the number of failures in the [sorted](Self::sorted) groups after the first `shown`, and in no group.
    pub(super) fn beyond(&self, sorted: &[&Group], shown: usize) -> u64 {
        let more = sorted.iter().skip(shown).map(|group| group.count);
        more.sum::<u64>() + self.others
    }
}

/// Returns the word for the end of an attempt, such as `TIMEOUT` or `SIGSEGV`.
pub(super) fn word(outcome: &AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Failed => "FAIL".to_owned(),
        AttemptOutcome::Panicked => "PANIC".to_owned(),
        AttemptOutcome::TimedOut(_) => "TIMEOUT".to_owned(),
        AttemptOutcome::Cancelled => "CANCELLED".to_owned(),
        AttemptOutcome::Lost => "LOST".to_owned(),
        AttemptOutcome::HostLost => "HOST LOST".to_owned(),
        AttemptOutcome::Crashed(cause) => match cause {
            ExitCause::Code(code) => format!("EXIT {code}"),
            ExitCause::OutOfMemory { .. } => "OOM".to_owned(),
            ExitCause::Unknown => "CRASH".to_owned(),
            ExitCause::Signal { .. } => cause.signal().unwrap_or("SIGNAL").to_owned(),
        },
    }
}

/// Returns the name of the call of an event.
pub(super) fn subject(event: &Event) -> String {
    context::subject(event.function, event.input_index).to_string()
}

/// Replaces each number in a text, so that texts that only differ in them are equal.
pub(super) fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut in_number = false;
    for character in text.chars() {
        if !character.is_ascii_digit() {
            plain.push(character);
        } else if !in_number {
            plain.push('#');
        }
        in_number = character.is_ascii_digit();
    }
    plain
}

/// Returns the end of a text, of at most `most` bytes.
fn last_part(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    &text[text.ceil_char_boundary(from)..]
}
