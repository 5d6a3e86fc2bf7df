//! Status lines: what is printed about failed attempts and failed calls while a program runs.
//!
//! [`Status`] only turns records into text, and keeps what the summary needs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::feed::Consume;
use crate::api::context::{self, AttemptOutcome, CallId, short_name};
use crate::api::events::{CallOutcome, Event, EventKind, FailureDetails, Record};
use crate::api::failure::ExitCause;
use crate::config::StatusMode;
use crate::terminal;

/// The width of the column of status words.
pub(super) const WORDS: usize = 12;

/// How many lines about failed attempts, and blocks about failed calls, are printed of each kind.
const FEW: u64 = 5;

/// How many lines of standard error a block shows.
const TAIL: usize = 10;

/// One failed attempt of a call that has not ended yet.
#[derive(Clone, Debug)]
struct Failed {
    event: Event,
    /// The delay before the next attempt.
    delay: Option<Duration>,
}

/// Failed calls of one function and one kind.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) count: u64,
    /// The first of them: its name and its reason.
    pub(super) example: (String, String),
}

/// The failures of a run, so far.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// By function, kind of end and cause.
    pub(super) groups: BTreeMap<(&'static str, &'static str, String), Group>,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) retried: u64,
    pub(crate) after_retry: u64,
}

/// Turns records into status lines.
pub(crate) struct Status {
    mode: StatusMode,
    attempts: HashMap<CallId, Vec<Failed>>,
    /// The number of lines and blocks of each kind.
    printed: HashMap<(&'static str, &'static str, String), u64>,
    failures: Arc<Mutex<Failures>>,
}

impl Status {
    pub(crate) fn new(mode: StatusMode, failures: Arc<Mutex<Failures>>) -> Self {
        Self {
            mode,
            attempts: HashMap::new(),
            printed: HashMap::new(),
            failures,
        }
    }

    /// Returns the text that a record calls for.
    fn text(&mut self, record: &Record) -> String {
        let event = &record.event;
        let Some(call) = event.call else {
            return String::new();
        };
        match &event.kind {
            EventKind::AttemptFailed { .. } => {
                self.attempts.entry(call).or_default().push(Failed {
                    event: event.clone(),
                    delay: None,
                });
                String::new()
            }
            EventKind::Retrying {
                delay,
                max_attempts,
            } => self.retry(event, call, *delay, *max_attempts),
            EventKind::Finished {
                outcome,
                reason,
                ran,
                details,
                ..
            } => {
                let attempts = self.attempts.remove(&call).unwrap_or_default();
                if *outcome == CallOutcome::Succeeded {
                    return self.success(record, *ran);
                }
                let end = End {
                    outcome: *outcome,
                    reason: reason.as_deref().unwrap_or_default(),
                    details: details.as_deref(),
                };
                self.failure(record, &end, &attempts)
            }
            _ => String::new(),
        }
    }

    /// Counts a line or a block of a kind. Returns whether it is to be printed, and whether it is the last of
    /// its kind that is.
    fn count(&mut self, key: (&'static str, &'static str, String)) -> Option<bool> {
        let printed = self.printed.entry(key).or_default();
        *printed += 1;
        (*printed <= FEW).then_some(*printed == FEW)
    }

    fn retry(&mut self, event: &Event, call: CallId, delay: Duration, most: u32) -> String {
        self.lock().retried += 1;
        let Some(last) = self.attempts.get_mut(&call).and_then(|all| all.last_mut()) else {
            return String::new();
        };
        last.delay = Some(delay);
        let last = last.event.clone();
        let EventKind::AttemptFailed {
            outcome,
            error,
            ran,
        } = &last.kind
        else {
            return String::new();
        };
        let word = word(outcome);
        let key = (event.function, "retry", word.clone());
        if self.mode < StatusMode::Retry {
            return String::new();
        }
        let Some(is_last) = self.count(key) else {
            return String::new();
        };
        let attempt = last.attempt.unwrap_or(1);
        let subject = subject(event);
        let mut line = format!("{word:>WORDS$} [{:>8.3}s] {subject}", ran.as_secs_f64());
        // After a crash the limit is another one than that of the retries.
        match outcome {
            AttemptOutcome::Crashed(_) => write!(line, " attempt {attempt}"),
            _ => write!(line, " attempt {attempt} of {most}"),
        }
        .expect("a string takes everything");
        if let Some(error) = error {
            let _ = write!(line, ": {error}");
        }
        line.push_str(match delay.is_zero() {
            true => "; running it again",
            false => "; retrying in ",
        });
        if !delay.is_zero() {
            let _ = write!(line, "{:?}", to_micros(delay));
        }
        let _ = write!(line, "   {}", worker(&last));
        line.push('\n');
        if is_last {
            let name = short_name(event.function);
            let _ = writeln!(
                line,
                "{:WORDS$} further ones of {name} are only counted",
                ""
            );
        }
        line
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
            let time = ran.map_or_else(
                || "      <1ms".to_owned(),
                |ran| format!("{:>8.3}s", ran.as_secs_f64()),
            );
            let _ = writeln!(text, "{word:>WORDS$} [{time:>9}] {subject}");
        }
        text
    }

    fn failure(&mut self, record: &Record, end: &End<'_>, attempts: &[Failed]) -> String {
        let event = &record.event;
        let count = u64::from(record.count);
        if end.outcome == CallOutcome::Cancelled {
            self.lock().cancelled += count;
            return String::new();
        }
        let key = (event.function, end.outcome.as_str(), end.cause(attempts));
        let mut failures = self.lock();
        failures.failed += count;
        let group = failures.groups.entry(key.clone()).or_insert_with(|| Group {
            count: 0,
            example: (subject(event), end.reason.to_owned()),
        });
        group.count += count;
        drop(failures);
        if self.mode < StatusMode::Fail {
            return String::new();
        }
        match self.count(key) {
            None => String::new(),
            Some(is_last) => {
                let mut block = end.block(event, attempts);
                if is_last {
                    let name = short_name(event.function);
                    let _ = writeln!(
                        block,
                        "{:WORDS$} further failures of {name} of this kind are only counted",
                        ""
                    );
                }
                block
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Failures> {
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

/// The end of a call without a result.
struct End<'a> {
    outcome: CallOutcome,
    reason: &'a str,
    details: Option<&'a FailureDetails>,
}

impl End<'_> {
    /// Returns the part of the cause by which failures are grouped: texts may contain the input, and so differ
    /// from call to call.
    fn cause(&self, attempts: &[Failed]) -> String {
        let last = attempts.last().map(|last| &last.event.kind);
        match (self.outcome, last) {
            (
                CallOutcome::Crashed,
                Some(EventKind::AttemptFailed {
                    outcome: outcome @ AttemptOutcome::Crashed(_),
                    ..
                }),
            ) => word(outcome),
            (CallOutcome::Failed | CallOutcome::Panicked, _) => without_numbers(self.reason),
            _ => String::new(),
        }
    }

    /// Returns the lines about the call.
    fn block(&self, event: &Event, attempts: &[Failed]) -> String {
        let mut text = String::new();
        let elapsed = event.at.elapsed.as_secs_f64();
        let what = match self.outcome {
            CallOutcome::Failed => String::new(),
            outcome => format!("{}: ", outcome.as_str().replace('_', " ")),
        };
        let after = match attempts.len() {
            0 | 1 => String::new(),
            several => format!(", after {several} attempts"),
        };
        let _ = writeln!(
            text,
            "{:>WORDS$} [{elapsed:>8.3}s] {}  {what}{}{after}",
            "FAILED",
            subject(event),
            self.reason,
        );
        let mut put = |title: &str, rest: &str| {
            let _ = writeln!(text, "{:WORDS$} {title:<8} {rest}", "");
        };
        if let Some(input) = self.details.and_then(|details| details.input.as_deref()) {
            put("input", input);
        }
        if let Some(called) = self.details.and_then(|details| details.called.as_deref()) {
            put("called", called);
        }
        for (place, failed) in attempts.iter().enumerate() {
            let EventKind::AttemptFailed {
                outcome,
                error,
                ran,
            } = &failed.event.kind
            else {
                continue;
            };
            let number = failed.event.attempt.unwrap_or_default();
            let mut line = format!(
                "{number}  {:<9} {:>8.3}s  {}",
                word(outcome),
                ran.as_secs_f64(),
                worker(&failed.event)
            );
            match failed.delay {
                Some(delay) if !delay.is_zero() => {
                    let _ = write!(line, "   retried after {:?}", to_micros(delay));
                }
                _ => {}
            }
            if let Some(error) = error
                && &**error != self.reason
            {
                let _ = write!(line, "   {error}");
            }
            put(if place == 0 { "attempts" } else { "" }, &line);
        }
        let tail = self
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
}

/// Returns what several crashes have in common, where it says something about the cause.
fn hint(attempts: &[Failed]) -> Option<String> {
    let crashes: Vec<_> = attempts
        .iter()
        .filter_map(|failed| match &failed.event.kind {
            EventKind::AttemptFailed {
                outcome: outcome @ AttemptOutcome::Crashed(_),
                ..
            } => Some((word(outcome), failed.event.worker_pid)),
            _ => None,
        })
        .collect();
    let (first, _) = crashes.first()?;
    let mut workers: Vec<_> = crashes.iter().map(|(_, pid)| pid).collect();
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

/// Returns the status word for the end of an attempt.
pub(super) fn word(outcome: &AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Failed => "FAIL".to_owned(),
        AttemptOutcome::Panicked => "PANIC".to_owned(),
        AttemptOutcome::TimedOut(_) => "TIMEOUT".to_owned(),
        AttemptOutcome::Cancelled => "CANCELLED".to_owned(),
        AttemptOutcome::Lost => "LOST".to_owned(),
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

/// Returns a delay as people write it: jitter draws it to the nanosecond.
fn to_micros(delay: Duration) -> Duration {
    Duration::from_micros(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
}

/// `worker w3 pid 48121`
fn worker(event: &Event) -> String {
    let mut text = String::from("worker");
    if let Some(worker) = event.worker {
        let _ = write!(text, " {worker}");
    }
    if let Some(pid) = event.worker_pid {
        let _ = write!(text, " pid {pid}");
    }
    text
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
