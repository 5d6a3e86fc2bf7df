//! Status lines: what is printed about failed attempts and failed calls while a program runs.
//!
//! [`Status`] only turns records into text, and keeps what the summary needs.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::attempts::WorkerKey;
use super::failures::{End, FailedAttempt, Groups, OpenCalls, subject, word};
use super::feed::Consume;
use crate::api::context::{AttemptOutcome, CallId, short_name};
use crate::api::events::{CallOutcome, Event, EventKind, Record};
use crate::config::StatusMode;
use crate::terminal;

/// The width of the column of status words.
pub(super) const WORDS: usize = 12;

/// How many lines about failed attempts, and blocks about failed calls, are printed of each kind.
const FEW: u64 = 5;

/// How many lines of standard error a block shows.
const TAIL: usize = 10;

/// The failures of a run, so far.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(super) groups: Groups,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) after_retry: u64,
}

/// Turns records into status lines.
pub(crate) struct Status {
    mode: StatusMode,
    open: OpenCalls,
    /// The number of lines of each kind: by function and status word.
    lines: HashMap<(&'static str, String), u64>,
    failures: Arc<Mutex<Failures>>,
}

impl Status {
    pub(crate) fn new(mode: StatusMode, failures: Arc<Mutex<Failures>>) -> Self {
        Self {
            mode,
            open: OpenCalls::default(),
            lines: HashMap::new(),
            failures,
        }
    }

    /// Returns the text that a record calls for.
    fn text(&mut self, record: &Record) -> String {
        let event = &record.event;
        match (&event.kind, event.call) {
            (EventKind::AttemptFailed { .. }, Some(call)) => {
                self.open.add(event, call);
                String::new()
            }
            (
                EventKind::Retrying {
                    delay,
                    max_attempts,
                },
                Some(call),
            ) => self.retry(event, call, *delay, *max_attempts),
            (EventKind::Finished { outcome, ran, .. }, Some(call)) => {
                let attempts = self.open.end(call);
                match (outcome, End::of(event)) {
                    (CallOutcome::Cancelled, _) => String::new(),
                    (_, Some(end)) => self.failure(record, &end, &attempts),
                    (_, None) => self.success(record, *ran),
                }
            }
            _ => String::new(),
        }
    }

    fn retry(&mut self, event: &Event, call: CallId, delay: Duration, most: u32) -> String {
        self.lock().retried += 1;
        let Some(last) = self.open.repeat(call, delay).cloned() else {
            return String::new();
        };
        let word = word(&last.outcome);
        self.line(event, &word, || {
            let attempt = match last.outcome {
                // The limit is another one than that of the retries.
                AttemptOutcome::Crashed(_) => format!("attempt {}", last.number),
                _ => attempt_of(last.number, most),
            };
            let error = last.error.as_ref().map(|error| format!(": {error}"));
            let then = match delay.is_zero() {
                true => "running it again".to_owned(),
                false => format!("retrying in {:?}", to_micros(delay)),
            };
            format!(
                "{word:>WORDS$} [{}] {} {attempt}{}; {then}   {}\n",
                seconds(last.ran),
                subject(event),
                error.unwrap_or_default(),
                named(last.worker),
            )
        })
    }

    /// Returns a line if it is one of the first of its kind and the mode shows such lines, with a note behind
    /// the last one.
    fn line(&mut self, event: &Event, word: &str, text: impl FnOnce() -> String) -> String {
        if self.mode < StatusMode::Retry {
            return String::new();
        }
        let key = (event.function, word.to_owned());
        let count = self.lines.entry(key).or_default();
        *count += 1;
        match *count {
            ..FEW => text(),
            FEW => text() + &further(event, "ones", ""),
            _ => String::new(),
        }
    }

    fn success(&mut self, record: &Record, ran: Option<Duration>) -> String {
        let event = &record.event;
        let attempt = event.attempt.unwrap_or(1);
        if attempt > 1 {
            self.lock().after_retry += 1;
        }
        if self.mode < StatusMode::All {
            return String::new();
        }
        let word = match attempt {
            1 => "OK".to_owned(),
            attempt => format!("OK ON {attempt}"),
        };
        let mut text = String::new();
        for place in 0..record.count {
            let subject = subject(&event.later(place));
            let time = ran.map_or_else(|| "     <1ms".to_owned(), seconds);
            let _ = writeln!(text, "{word:>WORDS$} [{time}] {subject}");
        }
        text
    }

    fn failure(&mut self, record: &Record, end: &End<'_>, attempts: &[FailedAttempt]) -> String {
        let (event, count) = (&record.event, u64::from(record.count));
        let mut failures = self.lock();
        failures.failed += count;
        let before = failures.groups.add_call(event, count, end, attempts);
        drop(failures);
        match before {
            Some(before) if before < FEW && self.mode >= StatusMode::Fail => {
                let mut block = block(event, end, attempts);
                if before + count >= FEW {
                    block.push_str(&further(event, "failures", " of this kind"));
                }
                block
            }
            _ => String::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consume for Status {
    fn take_in(&mut self, records: VecDeque<Record>) -> io::Result<()> {
        let mut text = String::new();
        for record in &records {
            text.push_str(&self.text(record));
        }
        if !text.is_empty() {
            terminal::suspend(|| eprint!("{text}"));
        }
        Ok(())
    }
}

/// Returns the lines about a call that has ended without a result.
fn block(event: &Event, end: &End<'_>, attempts: &[FailedAttempt]) -> String {
    let mut text = String::new();
    let (time, subject) = (seconds(event.at.elapsed), subject(event));
    let what = match end.outcome {
        CallOutcome::Failed => String::new(),
        outcome => format!("{}: ", outcome.as_str().replace('_', " ")),
    };
    let after = match attempts.last().map(|last| last.number) {
        None | Some(1) => String::new(),
        Some(several) => format!(", after {several} attempts"),
    };
    let (word, reason) = ("FAILED", end.reason);
    let _ = writeln!(
        text,
        "{word:>WORDS$} [{time}] {subject}  {what}{reason}{after}"
    );
    let mut put = |title: &str, rest: &str| {
        let _ = writeln!(text, "{:WORDS$} {title:<8} {rest}", "");
    };
    if let Some(input) = end.details.and_then(|details| details.input.as_deref()) {
        put("input", input);
    }
    if let Some(called) = end.details.and_then(|details| details.called.as_deref()) {
        put("called", called);
    }
    for (place, failed) in attempts.iter().enumerate() {
        let title = if place == 0 { "attempts" } else { "" };
        put(title, &attempt_line(failed, end.reason));
    }
    let tail = end
        .details
        .and_then(|details| details.stderr_tail.as_deref());
    let tail: Vec<_> = tail.unwrap_or_default().lines().collect();
    for (place, line) in tail[tail.len().saturating_sub(TAIL)..].iter().enumerate() {
        put(if place == 0 { "stderr" } else { "" }, line);
    }
    if let Some(hint) = hint(attempts) {
        put("hint", &hint);
    }
    text
}

/// Returns the line about an attempt of a call that has ended for a reason.
fn attempt_line(failed: &FailedAttempt, reason: &str) -> String {
    let (word, worker) = (word(&failed.outcome), named(failed.worker));
    let (number, time) = (failed.number, seconds(failed.ran));
    let mut line = format!("{number}  {word:<9} {time}  {worker}");
    if let Some(delay) = failed.delay.filter(|delay| !delay.is_zero()) {
        let _ = write!(line, "   retried after {:?}", to_micros(delay));
    }
    if let Some(error) = failed.error.as_deref().filter(|error| *error != reason) {
        let _ = write!(line, "   {error}");
    }
    line
}

/// Returns what several crashes have in common, where it says something about the cause.
fn hint(attempts: &[FailedAttempt]) -> Option<String> {
    let crashes: Vec<_> = attempts
        .iter()
        .filter(|failed| matches!(failed.outcome, AttemptOutcome::Crashed(_)))
        .map(|failed| (word(&failed.outcome), failed.worker))
        .collect();
    let (first, _) = crashes.first()?;
    let mut workers: Vec<_> = crashes.iter().map(|(_, worker)| worker).collect();
    workers.sort();
    workers.dedup();
    let same = crashes.iter().all(|(word, _)| word == first);
    if !same || crashes.len() < 2 || workers.len() < 2 {
        return None;
    }
    Some(match first.as_str() {
        "OOM" => format!(
            "too much memory {} times: the input needs more than the limit",
            crashes.len()
        ),
        _ => format!(
            "{first} {} times in {} workers: the input is the likely cause, not the machine",
            crashes.len(),
            workers.len()
        ),
    })
}

/// `attempt 1 of 4`, without the limit for an attempt beyond it, which follows a crash.
fn attempt_of(attempt: u32, most: u32) -> String {
    match attempt <= most {
        true => format!("attempt {attempt} of {most}"),
        false => format!("attempt {attempt}"),
    }
}

/// `   0.310s`
fn seconds(time: Duration) -> String {
    format!("{:>8.3}s", time.as_secs_f64())
}

/// Returns a note that further lines or blocks of a kind are not printed.
fn further(event: &Event, what: &str, of_kind: &str) -> String {
    let name = short_name(event.function);
    format!(
        "{:WORDS$} further {what} of {name}{of_kind} are only counted\n",
        ""
    )
}

/// Returns a delay as people write it: jitter draws it to the nanosecond.
fn to_micros(delay: Duration) -> Duration {
    Duration::from_micros(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
}

/// `worker w3 pid 48121`
fn named(worker: Option<WorkerKey>) -> String {
    worker.map_or_else(|| "worker".to_owned(), |worker| format!("worker {worker}"))
}
