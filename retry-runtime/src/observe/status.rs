//! Status lines: what is printed about slow and failed attempts, failed starts and failed calls while a program
//! runs.
//!
//! [`Status`] only turns records into text, and keeps what the summary needs.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::attempts::AttemptWorker;
use super::failures::{End, FailedAttempt, Groups, OpenCalls, subject, without_numbers, word};
use super::feed::Consume;
use crate::api::call_id::CallNumber;
use crate::api::context::{AttemptOutcome, short_name};
use crate::api::events::{CallOutcome, Event, EventKind, Record};
use crate::config::StatusMode;
use crate::{sys, terminal};

/// The width of the column of status words.
pub(super) const WORDS: usize = 12;

/// Number of lines about attempts and starts, and of blocks about failed calls, that are printed of each kind.
const FEW: u64 = 5;

/// Number of kinds that are told apart. Further ones of a function are one kind.
const KINDS: usize = 200;

/// Number of lines of standard error in a block.
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
    /// The number of lines of each kind: by function, status word and cause.
    lines: HashMap<(&'static str, String, String), u64>,
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
        match (&event.kind, event.call.map(|call| call.number)) {
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
            _ => self.warning(event),
        }
    }

    /// Returns the line about an attempt or a start that needs attention and has not ended a call.
    fn warning(&mut self, event: &Event) -> String {
        let attempt = event.attempt.unwrap_or(1);
        let (word, time, text, cause) = match &event.kind {
            EventKind::Slow {
                elapsed,
                max_attempts,
                ..
            } => {
                let text = format!(" {}", attempt_of(attempt, *max_attempts));
                ("SLOW", more_than(*elapsed), text, "")
            }
            EventKind::Terminating {
                timeout,
                grace,
                max_attempts,
            } => {
                let attempt = attempt_of(attempt, *max_attempts);
                let text = format!(" {attempt}: timeout {timeout:?}, killed after {grace:?}");
                ("TERMINATING", more_than(*timeout), text, "")
            }
            EventKind::SetUpFailed {
                reason,
                elapsed,
                tries_again: true,
            } => (
                "SETUP FAIL",
                seconds(*elapsed),
                format!(": {reason}"),
                &**reason,
            ),
            _ => return String::new(),
        };
        let then = match &event.kind {
            EventKind::SetUpFailed { .. } => "; trying again",
            _ => "",
        };
        self.line(event, word, without_numbers(cause), || {
            let (subject, worker) = (subject(event), AttemptWorker::of(event));
            format!("{word:>WORDS$} [{time}] {subject}{text}   {worker}{then}\n")
        })
    }

    fn retry(&mut self, event: &Event, call: CallNumber, delay: Duration, most: u32) -> String {
        self.lock().retried += 1;
        let Some(last) = self.open.repeat(call, delay).cloned() else {
            return String::new();
        };
        let word = word(&last.outcome);
        let cause = without_numbers(last.error.as_deref().unwrap_or_default());
        self.line(event, &word, cause, || {
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
                last.worker,
            )
        })
    }

    /// Returns a line if it is one of the first of its kind and the mode shows such lines, with a note behind
    /// the last one.
    fn line(
        &mut self,
        event: &Event,
        word: &str,
        cause: String,
        text: impl FnOnce() -> String,
    ) -> String {
        if self.mode < StatusMode::Retry {
            return String::new();
        }
        let mut key = (event.function, word.to_owned(), cause);
        if self.lines.len() >= KINDS && !self.lines.contains_key(&key) {
            key.2.clear();
        }
        let count = self.lines.entry(key).or_default();
        *count += 1;
        match *count {
            ..FEW => text(),
            FEW => text() + &further(event, &format!("{word} lines"), ""),
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
        // All calls that waited for the same start have failed for the same reason.
        let few = match end.outcome {
            CallOutcome::Startup => 1,
            _ => FEW,
        };
        match before {
            Some(before) if before < few && self.mode >= StatusMode::Fail => {
                let mut block = block(event, end, attempts);
                if before + count >= few {
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
            terminal::suspend(|| sys::complain(format_args!("{text}")));
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
    if let Some(place) = end
        .details
        .and_then(|details| details.panicked_at.as_deref())
    {
        put("panicked", place);
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
    let (word, worker) = (word(&failed.outcome), failed.worker);
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

/// Returns `attempt 1 of 4`, without the limit for an attempt beyond it, which follows a crash.
fn attempt_of(attempt: u32, most: u32) -> String {
    match attempt <= most {
        true => format!("attempt {attempt} of {most}"),
        false => format!("attempt {attempt}"),
    }
}

/// Formats a time as `   0.310s`.
fn seconds(time: Duration) -> String {
    format!("{:>8.3}s", time.as_secs_f64())
}

/// Formats a minimum as `>  0.310s`.
fn more_than(time: Duration) -> String {
    format!(">{:>7.3}s", time.as_secs_f64())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::events::WorkerId;

    fn event(index: Option<u64>, attempt: u32, kind: EventKind) -> Event {
        let mut event = Event::new("app::resize", kind);
        event.call = Some(CallNumber(index.unwrap_or_default() + 1).of(event.run));
        event.input_index = index;
        event.attempt = Some(attempt);
        event.worker = Some(WorkerId::new(3));
        event.worker_pid = Some(48_121);
        event
    }

    fn slow(index: u64, attempt: u32) -> Event {
        let kind = EventKind::Slow {
            elapsed: Duration::from_millis(15_004),
            timeout: Duration::from_secs(30),
            max_attempts: 4,
        };
        event(Some(index), attempt, kind)
    }

    fn set_up_failed(reason: &str, tries_again: bool) -> Event {
        let kind = EventKind::SetUpFailed {
            reason: reason.into(),
            elapsed: Duration::from_millis(310),
            tries_again,
        };
        let mut event = event(None, 1, kind);
        (event.call, event.attempt) = (None, None);
        event
    }

    fn startup(index: u64) -> Event {
        let kind = EventKind::Finished {
            outcome: CallOutcome::Startup,
            reason: Some("setup failed: no such file".into()),
            ran: None,
            ran_of: 0,
            details: None,
        };
        event(Some(index), 1, kind)
    }

    /// Returns the text about events in a mode.
    fn told(mode: StatusMode, events: impl IntoIterator<Item = Event>) -> String {
        let mut status = Status::new(mode, Arc::default());
        let records = events.into_iter().map(Record::one);
        records.map(|record| status.text(&record)).collect()
    }

    #[test]
    fn slow_and_expiring_attempts_and_failed_starts_have_lines() {
        let terminating = EventKind::Terminating {
            timeout: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            max_attempts: 4,
        };
        let events = [
            slow(812, 1),
            slow(812, 5),
            event(Some(812), 1, terminating),
            set_up_failed("no such file: m.onnx", true),
            set_up_failed("no such file: m.onnx", false),
        ];
        let expected = [
            "        SLOW [> 15.004s] resize[812] attempt 1 of 4   worker w3 pid 48121\n",
            "        SLOW [> 15.004s] resize[812] attempt 5   worker w3 pid 48121\n",
            " TERMINATING [> 30.000s] resize[812] attempt 1 of 4: timeout 30s, killed after 5s   worker w3 \
             pid 48121\n",
            "  SETUP FAIL [   0.310s] resize: no such file: m.onnx   worker w3 pid 48121; trying again\n",
        ]
        .concat();
        assert_eq!(told(StatusMode::Retry, events.clone()), expected);
        assert_eq!(told(StatusMode::All, events.clone()), expected);
        assert_eq!(told(StatusMode::Fail, events.clone()), "");
        assert_eq!(told(StatusMode::None, events), "");
    }

    #[test]
    fn only_the_first_lines_of_a_kind_are_printed() {
        let text = told(StatusMode::Retry, (0..9).map(|index| slow(index, 1)));
        let (last, note) = text.split_once("resize[4]").unwrap();
        assert_eq!(last.lines().count(), 5);
        let note = note.split_once('\n').unwrap().1;
        let expected = "             further SLOW lines of resize are only counted\n";
        assert_eq!(note, expected);
        let pages = (0..9).map(|page| set_up_failed(&format!("no page {page}"), true));
        let others = (0..9).map(|_| set_up_failed("no memory", true));
        let text = told(StatusMode::Retry, pages.chain(others));
        assert_eq!(text.matches("SETUP FAIL [").count(), 10, "{text}");
        assert_eq!(text.matches("no memory").count(), 5, "{text}");
    }

    #[test]
    fn calls_that_waited_for_a_worker_in_vain_are_one_block() {
        let failures = Arc::default();
        let mut status = Status::new(StatusMode::Fail, Arc::clone(&failures));
        let texts = (0..1000).map(|index| status.text(&Record::one(startup(index))));
        let text: String = texts.collect();
        assert_eq!(text.matches("FAILED [").count(), 1, "{text}");
        assert!(text.contains("resize[0]  startup: setup failed: no such file\n"));
        let failures = failures.lock().unwrap();
        let groups = failures.groups.sorted();
        assert_eq!((groups.len(), groups[0].count), (1, 1000));
    }
}
