//! Writes traces: JSON in Chrome's trace-event format, which Perfetto and `chrome://tracing` show.
//!
//! The file is a complete JSON array after every write: the end of the array is written with each block, and
//! the next block replaces it.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::attempts::{Gauge, Span, Tracker, WorkerKey, Workers};
use super::failures::subject;
use super::feed::{Consume, Feed};
use super::files::{self, Kind};
use super::log;
use crate::api::context::AttemptOutcome;
use crate::api::events::{CallOutcome, Event, EventKind, Interest, Record};

/// The number of bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// The end of the array.
const END: &[u8] = b"\n]\n";

/// The shortest time between two values of a counter.
const COUNTERS: Duration = Duration::from_millis(1);

/// The numbers of the rows of workers begin above those of functions: a row that has the number of its
/// function's row would be shown as the main thread.
const WORKERS: u32 = 1_000_000;

/// Returns the feed of the trace at a path, which all runtimes of a process share. There is none in a process
/// that was forked from one that writes a trace.
///
/// # Errors
///
/// If the file cannot be created, or if there is no thread left.
pub(crate) fn at(path: &Path) -> io::Result<Option<Arc<Feed>>> {
    if files::belong_to_parent() {
        return Ok(None);
    }
    let start = || {
        let writer = Box::new(TraceFile::create(path)?);
        Feed::start("retry-trace", Interest::Everything, writer)
    };
    files::shared(Kind::Trace, path, start).map(Some)
}

/// Writes the trace of the latest run in an event log.
pub(super) fn from_log(log: &Path, path: &Path) -> io::Result<()> {
    log::replay(log, || TraceFile::create(path))?;
    Ok(())
}

/// A trace file.
struct TraceFile {
    file: File,
    trace: Trace,
}

impl TraceFile {
    fn create(path: &Path) -> io::Result<Self> {
        let mut this = Self {
            file: files::create(path)?,
            trace: Trace::default(),
        };
        this.trace.text.push(b'[');
        this.write()?;
        Ok(this)
    }

    fn add(&mut self, record: &Record) -> io::Result<()> {
        self.trace.add(record);
        if self.trace.text.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what has been added, and the end of the array.
    fn write(&mut self) -> io::Result<()> {
        let text = &mut self.trace.text;
        text.extend_from_slice(END);
        self.file.write_all(text)?;
        text.clear();
        // The next event replaces the end of the array.
        self.file.seek(SeekFrom::End(-(END.len() as i64)))?;
        Ok(())
    }
}

impl Consume for TraceFile {
    fn take_in(&mut self, records: VecDeque<Record>) -> io::Result<()> {
        for record in &records {
            self.add(record)?;
        }
        self.write()
    }

    fn complete(&mut self) -> io::Result<()> {
        self.trace.complete();
        self.write()?;
        files::check_kept(&self.file)
    }
}

/// The place of an event: the row of a function, and that of a worker within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Row {
    pid: u32,
    tid: u32,
}

/// One trace event. Times are in microseconds since the run began.
#[derive(Serialize)]
struct TraceEvent<'a, A> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    ph: char,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(flatten)]
    row: Row,
    /// The extent of an instant: the row of a worker (`t`) or of a function (`p`).
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<char>,
    args: A,
}

impl<'a, A> TraceEvent<'a, A> {
    fn new(ph: char, name: impl Into<Cow<'a, str>>, row: Row, at: Duration, args: A) -> Self {
        Self {
            name: name.into(),
            cat: None,
            ph,
            ts: micros(at),
            dur: None,
            row,
            s: None,
            args,
        }
    }

    /// Returns what has taken some time.
    fn complete(
        category: &'static str,
        name: impl Into<Cow<'a, str>>,
        row: Row,
        at: Duration,
        duration: Duration,
        args: A,
    ) -> Self {
        Self {
            cat: Some(category),
            dur: Some(micros(duration)),
            ..Self::new('X', name, row, at, args)
        }
    }

    /// Returns what has happened at one moment.
    fn instant(
        category: &'static str,
        name: impl Into<Cow<'a, str>>,
        row: Row,
        at: Duration,
        args: A,
    ) -> Self {
        Self {
            cat: Some(category),
            s: Some(if row.pid == row.tid { 'p' } else { 't' }),
            ..Self::new('i', name, row, at, args)
        }
    }
}

/// The arguments of an attempt.
#[derive(Serialize)]
struct AttemptArgs<'a> {
    call: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// The number of consecutive calls that the event is about.
    count: u32,
    attempt: u32,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// False if the attempts have taken at most this time, because it was not measured.
    measured: bool,
}

/// The rows of a worker.
#[derive(Debug)]
struct WorkerRows {
    pid: u32,
    /// The row of each lane.
    threads: Vec<u32>,
}

/// Turns records into trace events.
#[derive(Default)]
struct Trace {
    /// Text that has not been written yet.
    text: Vec<u8>,
    has_events: bool,
    tracker: Tracker,
    spans: Vec<Span>,
    /// The rows of functions and services.
    processes: HashMap<&'static str, u32>,
    workers: Workers<WorkerRows>,
    threads: u32,
    /// The last values of the counters of each function, and when they were added.
    counters: HashMap<&'static str, (Gauge, Duration)>,
    /// The last event of a call of each function with a counter.
    latest: HashMap<&'static str, Event>,
}

impl Trace {
    fn add(&mut self, record: &Record) {
        let event = &record.event;
        let at = event.at.elapsed;
        let mut spans = std::mem::take(&mut self.spans);
        self.tracker.take_in(record, &mut spans);
        for span in spans.drain(..) {
            self.add_span(event, &span);
        }
        self.spans = spans;
        match &event.kind {
            EventKind::AttemptFailed {
                outcome: AttemptOutcome::Crashed(cause),
                ..
            } => self.add_end(event, "crash", cause.to_string()),
            EventKind::Finished {
                outcome, reason, ..
            } if *outcome != CallOutcome::Succeeded => {
                let name = format!("{} {}", subject(event), outcome.as_str());
                let args = json!({
                    "call": event.call.map(|call| call.number()),
                    "index": event.input_index,
                    "count": record.count,
                    "outcome": outcome.as_str(),
                    "reason": reason,
                });
                let row = self.process(event, event.function);
                self.put(&TraceEvent::instant("failure", name, row, at, args));
            }
            EventKind::WorkerStarting => {
                self.row(event);
            }
            EventKind::WorkerUp { set_up } => {
                let row = self.row(event);
                let begun = at.saturating_sub(*set_up);
                let args = json!({});
                self.put(&TraceEvent::complete(
                    "start-up", "start-up", row, begun, *set_up, args,
                ));
            }
            EventKind::SetUpFailed { reason, .. } => {
                let name = format!("failed start: {reason}");
                self.add_end(event, "crash", name);
            }
            EventKind::WorkerDown { cause } => {
                // The attempts that a worker's end interrupts tell of it themselves.
                self.add_end(event, "worker", cause.to_string());
                if let Some(key) = WorkerKey::of(event) {
                    self.workers.end(key);
                }
            }
            _ => {}
        }
        if event.call.is_some() {
            self.count(event, false);
        }
    }

    /// Adds what was held back.
    fn complete(&mut self) {
        let mut spans = Vec::new();
        self.tracker.rest(&mut spans);
        for span in spans {
            self.add_span(&Event::new(span.function, EventKind::Queued), &span);
        }
        for (_, event) in std::mem::take(&mut self.latest) {
            self.count(&event, true);
        }
    }

    fn add_span(&mut self, event: &Event, span: &Span) {
        let row = self.worker_row(event, span.worker, span.function, span.lane);
        let (outcome, cause) = match &span.failure {
            None => ("succeeded", None),
            Some((AttemptOutcome::Crashed(cause), _)) => ("crashed", Some(cause.to_string())),
            Some((outcome, _)) => (outcome.name(), None),
        };
        let error = span
            .failure
            .as_ref()
            .and_then(|(_, error)| error.as_deref());
        let args = AttemptArgs {
            call: span.call.0,
            index: span.index,
            count: span.count,
            attempt: span.attempt,
            outcome,
            reason: error,
            cause,
            measured: span.is_measured,
        };
        let name = span.subject();
        self.put(&TraceEvent::complete(
            "attempt", name, row, span.begun, span.ran, args,
        ));
    }

    /// Adds the moment at which a worker has ended.
    fn add_end(&mut self, event: &Event, category: &'static str, name: String) {
        let row = self.row(event);
        let args = match event.call {
            Some(call) => json!({ "call": call.number(), "index": event.input_index }),
            None => json!({}),
        };
        let at = event.at.elapsed;
        self.put(&TraceEvent::instant(category, name, row, at, args));
    }

    /// Adds the numbers of a function's calls that have not ended, if they have changed and the last ones are
    /// not too recent.
    fn count(&mut self, event: &Event, is_last: bool) {
        let at = event.at.elapsed;
        let gauge = self.tracker.gauge(event.function);
        let last = self.counters.get(event.function);
        if last.is_some_and(|(last, _)| *last == gauge) {
            return;
        }
        if !is_last && last.is_some_and(|(_, then)| at.saturating_sub(*then) < COUNTERS) {
            self.latest.insert(event.function, event.clone());
            return;
        }
        self.latest.remove(event.function);
        self.counters.insert(event.function, (gauge, at));
        let row = self.process(event, event.function);
        let args = json!({ "queued": gauge.queued, "running": gauge.running });
        self.put(&TraceEvent::new('C', "calls", row, at, args));
    }

    /// Returns the row of a function or service.
    fn process(&mut self, event: &Event, name: &'static str) -> Row {
        if let Some(pid) = self.processes.get(name) {
            return Row {
                pid: *pid,
                tid: *pid,
            };
        }
        let pid = u32::try_from(self.processes.len() + 1).unwrap_or(u32::MAX);
        self.processes.insert(name, pid);
        let row = Row { pid, tid: pid };
        let labels = format!("run {}, host {}", event.run, event.host);
        self.describe("process_name", row, json!({ "name": name }));
        self.describe("process_labels", row, json!({ "labels": labels }));
        self.describe("process_sort_index", row, json!({ "sort_index": pid }));
        row
    }

    /// Returns the row of the worker that an event is about.
    fn row(&mut self, event: &Event) -> Row {
        match WorkerKey::of(event) {
            Some(worker) => self.worker_row(event, worker, event.function, 0),
            None => self.process(event, event.function),
        }
    }

    /// Returns the row of one lane of a worker.
    fn worker_row(
        &mut self,
        event: &Event,
        worker: WorkerKey,
        function: &'static str,
        lane: usize,
    ) -> Row {
        // A method of a service is executed by a worker of the service.
        let pid = match self.workers.get(worker) {
            Some(rows) => rows.pid,
            None => self.process(event, function).pid,
        };
        let rows = self.workers.get_or_insert(worker, || WorkerRows {
            pid,
            threads: Vec::new(),
        });
        if let Some(tid) = rows.threads.get(lane) {
            return Row { pid, tid: *tid };
        }
        let first = rows.threads.len();
        for number in first..=lane {
            self.threads += 1;
            let tid = WORKERS + self.threads;
            if let Some(rows) = self.workers.get_mut(worker) {
                rows.threads.push(tid);
            }
            let name = match number {
                0 => worker.to_string(),
                number => format!("{worker} ({})", number + 1),
            };
            let row = Row { pid, tid };
            self.describe("thread_name", row, json!({ "name": name }));
            self.describe("thread_sort_index", row, json!({ "sort_index": tid }));
        }
        Row {
            pid,
            tid: WORKERS + self.threads,
        }
    }

    /// Adds the name or the place of a row.
    fn describe(&mut self, what: &'static str, row: Row, args: serde_json::Value) {
        self.put(&TraceEvent::new('M', what, row, Duration::ZERO, args));
    }

    fn put<A: Serialize>(&mut self, event: &TraceEvent<'_, A>) {
        let separator: &[u8] = if self.has_events { b",\n" } else { b"\n" };
        self.text.extend_from_slice(separator);
        self.has_events = true;
        let added = serde_json::to_writer(&mut self.text, event);
        debug_assert!(added.is_ok(), "a vector takes everything");
    }
}

/// Returns a time as trace events have it.
fn micros(time: Duration) -> f64 {
    // Nanoseconds are exact up to 104 days.
    #[expect(clippy::cast_precision_loss, reason = "a run is shorter")]
    let nanos = time.as_nanos() as f64;
    nanos / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::attempts::tests::{of_worker, record, started, succeeded};
    use super::*;

    fn parsed(path: &Path) -> Vec<Value> {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("retry-{name}-{}.json", std::process::id()))
    }

    #[test]
    fn the_file_is_an_array_after_every_write() {
        let path = path("array");
        let mut file = TraceFile::create(&path).unwrap();
        assert_eq!(parsed(&path), [Value::Null; 0]);
        let records = |from: u64| {
            VecDeque::from([
                record(from, from, 1, EventKind::Queued),
                of_worker(from + 1, from, 1, started()),
                of_worker(from + 9, from, 1, succeeded(Some(7), 1)),
            ])
        };
        file.take_in(records(1)).unwrap();
        let begun = parsed(&path);
        file.take_in(records(5000)).unwrap();
        let continued = parsed(&path);
        assert_eq!(continued[..begun.len()], begun);
        file.complete().unwrap();
        let completed = parsed(&path);
        assert_eq!(completed[..continued.len()], continued);
        let attempts: Vec<_> = completed
            .iter()
            .filter(|event| event["ph"] == "X")
            .collect();
        assert_eq!(attempts.len(), 2);
        assert_eq!(
            (&attempts[0]["ts"], &attempts[0]["dur"]),
            (&json!(2.0), &json!(7.0))
        );
        assert_eq!(attempts[0]["name"], "f[0]");
        // The last counter says that nothing is left.
        let counters = completed.iter().rfind(|event| event["ph"] == "C").unwrap();
        assert_eq!(counters["args"], json!({ "queued": 0, "running": 0 }));
        std::fs::remove_file(path).unwrap();
    }
}
