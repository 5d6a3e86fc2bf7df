//! Events as JSON: one object per line, flat, with the same fields for all kinds. `docs/events.schema.json`
//! describes it; a change that readers of the old format would misunderstand takes a new [`VERSION`].

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::api::call_id::CallNumber;
use crate::api::context::AttemptOutcome;
use crate::api::events::{
    CallOutcome, Event, EventKind, FailureDetails, Record, Stream, Timestamp, WorkerId,
};
use crate::api::failure::ExitCause;
use crate::api::run::RunId;

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// One line. Fields that do not apply are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    v: u32,
    run: String,
    host: String,
    time: f64,
    elapsed: f64,
    event: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    function: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ran_of: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    called: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    panicked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set_up: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tries_again: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
}

/// The end of a worker's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cause {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core_dumped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_peak: Option<u64>,
}

impl From<ExitCause> for Cause {
    fn from(cause: ExitCause) -> Self {
        let mut this = Self {
            text: cause.to_string(),
            ..Self::default()
        };
        match cause {
            ExitCause::Signal {
                signal,
                core_dumped,
            } => {
                this.signal = Some(signal);
                this.core_dumped = Some(core_dumped);
            }
            ExitCause::Code(code) => this.code = Some(code),
            ExitCause::OutOfMemory { limit, peak } => {
                this.memory_limit = Some(limit);
                this.memory_peak = Some(peak);
            }
            ExitCause::Unknown => {}
        }
        this
    }
}

impl Cause {
    fn into_cause(self) -> ExitCause {
        match self {
            Self {
                signal: Some(signal),
                core_dumped,
                ..
            } => ExitCause::Signal {
                signal,
                core_dumped: core_dumped.unwrap_or_default(),
            },
            Self {
                code: Some(code), ..
            } => ExitCause::Code(code),
            Self {
                memory_limit: Some(limit),
                memory_peak,
                ..
            } => ExitCause::OutOfMemory {
                limit,
                peak: memory_peak.unwrap_or_default(),
            },
            Self { .. } => ExitCause::Unknown,
        }
    }
}

/// Returns a text as long as the program lives. There are only as many of them as names of functions and
/// machines.
fn interned(text: String) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = known.get(text.as_str()) {
        return text;
    }
    let text: &'static str = text.leak();
    known.insert(text);
    text
}

/// Returns the name of a kind of event.
fn name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Queued => "queued",
        EventKind::Started { .. } => "started",
        EventKind::Slow { .. } => "slow",
        EventKind::Terminating { .. } => "terminating",
        EventKind::AttemptFailed { .. } => "attempt_failed",
        EventKind::Retrying { .. } => "retrying",
        EventKind::Finished { .. } => "finished",
        EventKind::WorkerStarting => "worker_starting",
        EventKind::WorkerUp { .. } => "worker_up",
        EventKind::SetUpFailed { .. } => "set_up_failed",
        EventKind::WorkerDown { .. } => "worker_down",
        EventKind::ProcessLeft { .. } => "process_left",
        EventKind::Output { .. } => "output",
        EventKind::Lagged { .. } => "lagged",
    }
}

fn seconds(duration: Duration) -> Option<f64> {
    Some(duration.as_secs_f64())
}

fn duration(seconds: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
}

impl Line {
    pub(crate) fn new(event: &Event, count: u32) -> Self {
        let Event {
            run,
            host,
            at,
            function,
            call,
            parent,
            input_index,
            attempt,
            worker,
            worker_pid,
            kind,
        } = event;
        let wall = at.wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Self {
            v: VERSION,
            run: run.to_string(),
            host: (*host).to_owned(),
            time: wall.as_secs_f64(),
            elapsed: at.elapsed.as_secs_f64(),
            function: (*function).to_owned(),
            call: call.map(|call| call.number()),
            parent: parent.map(|parent| parent.number()),
            index: *input_index,
            count: (count > 1).then_some(count),
            attempt: *attempt,
            worker: worker.map(WorkerId::number),
            pid: *worker_pid,
            event: name(kind).to_owned(),
            ..Self::default()
        };
        line.set_call(kind);
        line.set_worker(kind);
        line
    }

    /// Sets the fields of an event of a call.
    fn set_call(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Started { queued } => {
                self.queued = seconds(*queued);
            }
            EventKind::AttemptFailed {
                outcome,
                error,
                ran,
            } => {
                self.set_attempt_outcome(outcome);
                self.reason = error.as_deref().map(str::to_owned);
                self.ran = seconds(*ran);
            }
            EventKind::Slow {
                elapsed,
                timeout,
                max_attempts,
            } => {
                self.ran = seconds(*elapsed);
                self.limit = seconds(*timeout);
                self.max_attempts = Some(*max_attempts);
            }
            EventKind::Terminating {
                timeout,
                grace,
                max_attempts,
            } => {
                self.limit = seconds(*timeout);
                self.grace = seconds(*grace);
                self.max_attempts = Some(*max_attempts);
            }
            EventKind::Retrying {
                delay,
                max_attempts,
            } => {
                self.delay = seconds(*delay);
                self.max_attempts = Some(*max_attempts);
            }
            EventKind::Finished {
                outcome,
                reason,
                ran,
                ran_of,
                details,
            } => {
                self.outcome = Some(outcome.as_str().to_owned());
                self.reason = reason.as_deref().map(str::to_owned);
                self.ran = ran.and_then(seconds);
                self.ran_of = (*ran_of > 1).then_some(*ran_of);
                if let Some(details) = details {
                    self.set_details(details);
                }
            }
            _ => {}
        }
    }

    /// Sets the fields of an event of a worker or a subscription.
    fn set_worker(&mut self, kind: &EventKind) {
        match kind {
            EventKind::WorkerUp { set_up } => {
                self.set_up = seconds(*set_up);
            }
            EventKind::SetUpFailed {
                reason,
                elapsed,
                tries_again,
            } => {
                self.reason = Some(reason.to_string());
                self.set_up = seconds(*elapsed);
                self.tries_again = Some(*tries_again);
            }
            EventKind::WorkerDown { cause } => {
                self.cause = Some((*cause).into());
            }
            EventKind::ProcessLeft { pid } => {
                self.left_pid = Some(*pid);
            }
            EventKind::Output { stream, line } => {
                let name = match stream {
                    Stream::Stdout => "stdout",
                    Stream::Stderr => "stderr",
                };
                self.stream = Some(name.to_owned());
                self.line = Some(line.clone());
            }
            EventKind::Lagged { missed } => {
                self.missed = Some(*missed);
            }
            _ => {}
        }
    }

    fn set_attempt_outcome(&mut self, outcome: &AttemptOutcome) {
        match outcome {
            AttemptOutcome::Crashed(cause) => self.cause = Some((*cause).into()),
            AttemptOutcome::TimedOut(limit) => self.limit = seconds(*limit),
            AttemptOutcome::Failed
            | AttemptOutcome::Panicked
            | AttemptOutcome::Cancelled
            | AttemptOutcome::Lost
            | AttemptOutcome::HostLost => {}
        }
        self.outcome = Some(outcome.name().to_owned());
    }

    fn set_details(&mut self, details: &FailureDetails) {
        self.input = details.input.as_deref().map(str::to_owned);
        self.called = details.called.as_deref().map(str::to_owned);
        self.panicked_at = details.panicked_at.as_deref().map(str::to_owned);
        self.stderr = details.stderr_tail.as_deref().map(str::to_owned);
    }

    /// Returns the record that the line describes, `None` if it is about a kind of event that a later release
    /// has added, or what is wrong with it.
    pub(crate) fn into_record(mut self) -> Result<Option<Record>, String> {
        if self.v != VERSION {
            return Err(format!(
                "it has version {} of the format, and this program knows version {VERSION}",
                self.v
            ));
        }
        let Some(kind) = self.take_kind()? else {
            return Ok(None);
        };
        let run: RunId = self.run.parse().map_err(|error| format!("{error}"))?;
        let wall = UNIX_EPOCH.checked_add(duration(Some(self.time)));
        let event = Event {
            run,
            host: interned(self.host),
            at: Timestamp::new(wall.unwrap_or(UNIX_EPOCH), duration(Some(self.elapsed))),
            function: interned(self.function),
            call: self.call.map(|call| CallNumber(call).of(run)),
            parent: self.parent.map(|call| CallNumber(call).of(run)),
            input_index: self.index,
            attempt: self.attempt,
            worker: self.worker.map(WorkerId::new),
            worker_pid: self.pid,
            kind,
        };
        let count = self.count.unwrap_or(1).max(1);
        Ok(Some(Record { event, count }))
    }

    /// Returns the kind of the event, `None` if it is not known here.
    fn take_kind(&mut self) -> Result<Option<EventKind>, String> {
        Ok(Some(match self.event.as_str() {
            "queued" => EventKind::Queued,
            "started" => EventKind::Started {
                queued: duration(self.queued),
            },
            "attempt_failed" => EventKind::AttemptFailed {
                outcome: self.take_attempt_outcome()?,
                error: self.reason.take().map(Into::into),
                ran: duration(self.ran),
            },
            "slow" => EventKind::Slow {
                elapsed: duration(self.ran),
                timeout: duration(self.limit),
                max_attempts: self.max_attempts.unwrap_or(1),
            },
            "terminating" => EventKind::Terminating {
                timeout: duration(self.limit),
                grace: duration(self.grace),
                max_attempts: self.max_attempts.unwrap_or(1),
            },
            "retrying" => EventKind::Retrying {
                delay: duration(self.delay),
                max_attempts: self.max_attempts.unwrap_or(1),
            },
            "finished" => self.take_end()?,
            "worker_starting" => EventKind::WorkerStarting,
            "worker_up" => EventKind::WorkerUp {
                set_up: duration(self.set_up),
            },
            "set_up_failed" => EventKind::SetUpFailed {
                reason: self.reason.take().unwrap_or_default().into(),
                elapsed: duration(self.set_up),
                tries_again: self.tries_again.unwrap_or_default(),
            },
            "worker_down" => EventKind::WorkerDown {
                cause: self.take_cause(),
            },
            "process_left" => EventKind::ProcessLeft {
                pid: self.left_pid.unwrap_or_default(),
            },
            "output" => EventKind::Output {
                stream: match self.stream.as_deref().unwrap_or_default() {
                    "stdout" => Stream::Stdout,
                    "stderr" => Stream::Stderr,
                    other => return Err(unknown("stream", other)),
                },
                line: self.line.take().unwrap_or_default(),
            },
            "lagged" => EventKind::Lagged {
                missed: self.missed.unwrap_or_default(),
            },
            "" => return Err("it does not name its event".to_owned()),
            _ => return Ok(None),
        }))
    }

    fn take_attempt_outcome(&mut self) -> Result<AttemptOutcome, String> {
        let name = self.outcome.take().unwrap_or_default();
        Ok(match name.as_str() {
            "failed" => AttemptOutcome::Failed,
            "panicked" => AttemptOutcome::Panicked,
            "crashed" => AttemptOutcome::Crashed(self.take_cause()),
            "timed_out" => AttemptOutcome::TimedOut(duration(self.limit)),
            "cancelled" => AttemptOutcome::Cancelled,
            "lost" => AttemptOutcome::Lost,
            "host_lost" => AttemptOutcome::HostLost,
            other => return Err(unknown("outcome", other)),
        })
    }

    fn take_end(&mut self) -> Result<EventKind, String> {
        let name = self.outcome.take().unwrap_or_default();
        let outcome = CallOutcome::from_name(&name).ok_or_else(|| unknown("outcome", &name))?;
        Ok(EventKind::Finished {
            outcome,
            reason: self.reason.take().map(Into::into),
            ran: self.ran.map(|ran| duration(Some(ran))),
            ran_of: self.ran_of.unwrap_or(u32::from(self.ran.is_some())),
            details: (outcome != CallOutcome::Succeeded).then(|| self.take_details()),
        })
    }

    fn take_details(&mut self) -> Box<FailureDetails> {
        Box::new(FailureDetails {
            input: self.input.take().map(Into::into),
            called: self.called.take().map(Into::into),
            stderr_tail: self.stderr.take().map(Into::into),
            panicked_at: self.panicked_at.take().map(Into::into),
        })
    }

    fn take_cause(&mut self) -> ExitCause {
        self.cause.take().unwrap_or_default().into_cause()
    }
}

fn unknown(what: &str, name: &str) -> String {
    format!("the {what} `{name}` is unknown")
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Line::new(self, 1).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let line = Line::deserialize(from)?;
        let problem = unknown("event", &line.event);
        let record = line.into_record().and_then(|record| record.ok_or(problem));
        Ok(record.map_err(serde::de::Error::custom)?.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> Vec<EventKind> {
        let second = Duration::from_secs(1);
        let attempt = |outcome| EventKind::AttemptFailed {
            outcome,
            error: Some("a \"text\"".into()),
            ran: second,
        };
        let cause = ExitCause::Signal {
            signal: 11,
            core_dumped: true,
        };
        let memory = ExitCause::OutOfMemory {
            limit: 1 << 40,
            peak: 3,
        };
        vec![
            EventKind::Queued,
            EventKind::Started { queued: second },
            attempt(AttemptOutcome::Failed),
            attempt(AttemptOutcome::Crashed(cause)),
            attempt(AttemptOutcome::TimedOut(second * 3)),
            EventKind::Slow {
                elapsed: second,
                timeout: second * 2,
                max_attempts: 3,
            },
            EventKind::Terminating {
                timeout: second * 2,
                grace: second,
                max_attempts: 3,
            },
            EventKind::Retrying {
                delay: Duration::ZERO,
                max_attempts: 4,
            },
            EventKind::Finished {
                outcome: CallOutcome::Succeeded,
                reason: None,
                ran: Some(second),
                ran_of: 7,
                details: None,
            },
            EventKind::Finished {
                outcome: CallOutcome::CrashLimit,
                reason: Some("too many".into()),
                ran: None,
                ran_of: 0,
                details: Some(Box::new(FailureDetails {
                    input: Some("Job { width: 3 }".into()),
                    called: Some("src/main.rs:4:5".into()),
                    stderr_tail: None,
                    panicked_at: Some("src/lib.rs:7:9".into()),
                })),
            },
            EventKind::WorkerStarting,
            EventKind::WorkerUp { set_up: second },
            EventKind::SetUpFailed {
                reason: "no such file: m.onnx".into(),
                elapsed: second,
                tries_again: true,
            },
            EventKind::WorkerDown { cause: memory },
            EventKind::WorkerDown {
                cause: ExitCause::Code(3),
            },
            EventKind::WorkerDown {
                cause: ExitCause::Unknown,
            },
            EventKind::ProcessLeft { pid: 12 },
            EventKind::Output {
                stream: Stream::Stderr,
                line: "tab\tand \u{1b}[1m".to_owned(),
            },
            EventKind::Lagged { missed: 9 },
        ]
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        for kind in kinds() {
            let mut event = Event::new("app::f", kind);
            event.call = Some(CallNumber(5).of(event.run));
            event.input_index = Some(4);
            event.worker = Some(WorkerId::new(2));
            let json = serde_json::to_string(&Line::new(&event, 3)).unwrap();
            assert!(!json.contains('\n'));
            let line: Line = serde_json::from_str(&json).unwrap();
            let read = line.into_record().unwrap().unwrap();
            assert_eq!((read.event.kind, read.count), (event.kind, 3), "{json}");
            assert_eq!(read.event.call, event.call);
            assert_eq!(read.event.run, event.run);
            assert_eq!(
                (read.event.host, read.event.function),
                (event.host, "app::f")
            );
        }
    }

    #[test]
    fn a_line_that_is_not_understood_says_why() {
        for (json, problem) in [
            (r#"{"v":2}"#, "version 2"),
            (r#"{"v":1}"#, "does not name its event"),
            (
                r#"{"v":1,"event":"finished","outcome":"fine"}"#,
                "the outcome `fine` is unknown",
            ),
            (r#"{"v":1,"event":"queued","run":"x"}"#, "13 digits"),
        ] {
            let line: Line = serde_json::from_str(json).unwrap();
            let error = line.into_record().unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_kind_of_event_from_a_later_release_is_no_mistake() {
        let json = r#"{"v":1,"event":"dance","outcome":"waltz"}"#;
        let line: Line = serde_json::from_str(json).unwrap();
        assert!(line.into_record().unwrap().is_none());
        let error = serde_json::from_str::<Event>(json).unwrap_err().to_string();
        assert!(error.contains("the event `dance` is unknown"), "{error}");
    }
}
