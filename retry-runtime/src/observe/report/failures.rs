//! Failures in groups of the same cause, with an example each.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::super::status::{subject, without_numbers, word};
use crate::api::context::{AttemptOutcome, CallId};
use crate::api::events::{CallOutcome, Event, FailureDetails};
use crate::api::excerpt::excerpt;

/// How many groups there are at most. Failures of further kinds are only counted.
const GROUPS: usize = 200;

/// How many attempts of an example are listed.
const ATTEMPTS: usize = 10;

/// The longest text of an example, in bytes.
const LONGEST: usize = 2000;

/// The lines of standard error that an example has at most, in bytes.
const STDERR: usize = 4000;

/// Failures by function, kind of end and cause.
type Key = (&'static str, &'static str, String);

/// A failed attempt of a call that has not ended yet.
#[derive(Clone, Debug)]
pub(super) struct FailedAttempt {
    pub(super) number: u32,
    pub(super) outcome: AttemptOutcome,
    pub(super) error: Option<Box<str>>,
    pub(super) ran: Duration,
    pub(super) worker: String,
    /// The delay before the next attempt.
    pub(super) delay: Option<Duration>,
}

/// One of the failures of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Example {
    /// The function, and the input in its map.
    pub(super) subject: String,
    pub(super) reason: String,
    pub(super) input: Option<String>,
    pub(super) called: Option<String>,
    pub(super) stderr: Option<String>,
    pub(super) attempts: Vec<FailedAttempt>,
}

/// Failures of the same function, kind and cause.
#[derive(Clone, Debug)]
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
    fn add(
        &mut self,
        event: &Event,
        count: u64,
        outcome: &'static str,
        cause: String,
        example: impl FnOnce() -> Example,
    ) {
        let key = (event.function, outcome, cause);
        let at = event.at.elapsed;
        if !self.known.contains_key(&key) && self.known.len() >= GROUPS {
            self.others += count;
            return;
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
        group.count += count;
        group.last = at;
    }

    /// Returns the groups, the largest one first.
    pub(super) fn sorted(&self) -> Vec<&Group> {
        let mut groups: Vec<_> = self.known.values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }

    /// Returns the number of failures that are in no group.
    pub(super) fn others(&self) -> u64 {
        self.others
    }
}

/// The failures of a run.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Calls that ended without a result.
    pub(super) calls: Groups,
    /// Attempts that were repeated.
    pub(super) attempts: Groups,
    /// The failed attempts of calls that have not ended.
    open: HashMap<CallId, Vec<FailedAttempt>>,
}

impl Failures {
    /// Returns the number of groups and open calls that are kept.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        self.calls.known.len() + self.attempts.known.len() + self.open.len()
    }

    /// Notes that an attempt has failed.
    pub(super) fn add_attempt(&mut self, call: CallId, attempt: FailedAttempt) {
        let attempts = self.open.entry(call).or_default();
        if attempts.len() == ATTEMPTS {
            attempts.remove(0);
        }
        attempts.push(attempt);
    }

    /// Notes that the last attempt of a call will be repeated.
    pub(super) fn add_retry(&mut self, event: &Event, call: CallId, delay: Duration) {
        let Some(last) = self.open.get_mut(&call).and_then(|all| all.last_mut()) else {
            return;
        };
        last.delay = Some(delay);
        let last = last.clone();
        let word = word(&last.outcome);
        let error = last.error.clone().unwrap_or_default();
        let outcome = last.outcome.name();
        let cause = match &last.outcome {
            AttemptOutcome::Crashed(_) => word,
            _ => without_numbers(&error),
        };
        self.attempts.add(event, 1, outcome, cause, || Example {
            subject: subject(event),
            reason: match (&last.outcome, error.is_empty()) {
                (AttemptOutcome::Crashed(cause), _) => cause.to_string(),
                (outcome, true) => outcome.name().replace('_', " "),
                (_, false) => error.to_string(),
            },
            attempts: vec![last],
            ..Example::default()
        });
    }

    /// Notes that calls have succeeded.
    pub(super) fn succeed(&mut self, event: &Event, call: CallId) {
        // Calls that are answered together may have failed before one by one.
        if event.attempt.unwrap_or(1) > 1 {
            self.open.remove(&call);
        }
    }

    /// Notes that a call has ended in a way that is no failure.
    pub(super) fn forget(&mut self, call: CallId) {
        self.open.remove(&call);
    }

    /// Notes that calls have ended without a result.
    pub(super) fn fail(
        &mut self,
        event: &Event,
        call: CallId,
        count: u64,
        outcome: CallOutcome,
        reason: &str,
        details: Option<&FailureDetails>,
    ) {
        let attempts = self.open.remove(&call).unwrap_or_default();
        let last = attempts.last().map(|last| &last.outcome);
        let cause = match (outcome, last) {
            (CallOutcome::Crashed, Some(outcome @ AttemptOutcome::Crashed(_))) => word(outcome),
            (CallOutcome::Crashed, _) => String::new(),
            _ => without_numbers(reason),
        };
        self.calls.add(event, count, outcome.as_str(), cause, || {
            let text = |text: Option<&str>| text.map(|text| excerpt(text, LONGEST).into_owned());
            let stderr = details.and_then(|details| details.stderr_tail.as_deref());
            Example {
                subject: subject(event),
                reason: excerpt(reason, LONGEST).into_owned(),
                input: text(details.and_then(|details| details.input.as_deref())),
                called: text(details.and_then(|details| details.called.as_deref())),
                stderr: stderr.map(|stderr| end(stderr, STDERR).to_owned()),
                attempts,
            }
        });
    }
}

/// Returns the end of a text, of at most `most` bytes.
fn end(text: &str, most: usize) -> &str {
    let from = text.len().saturating_sub(most);
    &text[text.ceil_char_boundary(from)..]
}
