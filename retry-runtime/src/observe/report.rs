//! Reports: one page of HTML about a run, which contains everything that it shows.

mod aggregate;
mod buckets;
mod drawing;
mod page;
mod text;
mod timeline;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aggregate::{Aggregate, Head};
use page::State;

use super::feed::{Consume, Feed};
use super::files::{self, Kind};
use super::log;
use crate::api::events::{Interest, Record};
use crate::api::run::{self, RunId};

/// The shortest time between two versions of the page.
const RENEWED: Duration = Duration::from_secs(10);

/// Returns the feed of the report at a path, which all runtimes of a process share. There is none in a process
/// that was forked from one that writes a report.
///
/// # Errors
///
/// If the file cannot be written, or if there is no thread left.
pub(crate) fn at(path: &Path, settings: impl FnOnce() -> String) -> io::Result<Option<Arc<Feed>>> {
    if files::belong_to_parent() {
        return Ok(None);
    }
    let start = || {
        let report = Box::new(Report::begin(path, settings())?);
        Feed::start("retry-report", Interest::Everything, report)
    };
    files::shared(Kind::Report, path, start).map(Some)
}

/// Writes the report of the latest run in an event log.
pub(super) fn from_log(log: &Path, path: &Path) -> io::Result<()> {
    log::replay(log, || Ok(Report::of_log(path)))?;
    Ok(())
}

/// The report of a run that goes on, or whose log is read.
struct Report {
    /// The program may change its directory until the page is complete.
    path: io::Result<PathBuf>,
    /// The settings of the run that goes on.
    settings: Option<String>,
    aggregate: Aggregate,
    written: Instant,
    /// The time that writing took.
    cost: Duration,
    /// Set if the page has all records.
    is_complete: bool,
}

impl Report {
    /// Begins the report of this run.
    fn begin(path: &Path, settings: String) -> io::Result<Self> {
        let now = run::now();
        let head = Head {
            run: RunId::current(),
            host: run::host(),
            begun: now
                .wall
                .checked_sub(now.elapsed)
                .unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let mut this = Self {
            settings: Some(settings),
            aggregate: Aggregate::of(head),
            ..Self::of_log(path)
        };
        // A file that cannot be written is an error at once, and an earlier run's page does not remain.
        this.write(State::Running)?;
        Ok(this)
    }

    fn of_log(path: &Path) -> Self {
        Self {
            path: std::path::absolute(path),
            settings: None,
            aggregate: Aggregate::default(),
            written: Instant::now(),
            cost: Duration::ZERO,
            is_complete: false,
        }
    }

    fn write(&mut self, state: State) -> io::Result<()> {
        let begun = Instant::now();
        let path = match &self.path {
            Ok(path) => path,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        if state == State::Running && files::is_special(path) {
            // The reader of a pipe is to get one page.
            return Ok(());
        }
        let page = page::render(&self.aggregate, state, self.settings.as_deref());
        replace(path, &page)?;
        self.written = Instant::now();
        self.cost = self.written - begun;
        Ok(())
    }
}

impl Consume for Report {
    fn take_in(&mut self, records: VecDeque<Record>) -> io::Result<()> {
        for record in &records {
            self.aggregate.add(record);
        }
        self.is_complete = false;
        let is_due = self.written.elapsed() >= RENEWED.max(self.cost * 100);
        if is_due && self.settings.is_some() {
            self.write(State::Running)?;
        }
        Ok(())
    }

    fn complete(&mut self) -> io::Result<()> {
        if self.is_complete {
            return Ok(());
        }
        self.is_complete = true;
        self.write(match self.settings {
            Some(_) => State::Ended,
            None => State::FromLog,
        })
    }
}

/// Replaces a file at once, so that it is complete at any time. The new one has the permissions of the old one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let found = fs::symlink_metadata(path).ok();
    // A link would be replaced instead of its file, and a pipe or a device has no other name to be renamed from.
    if found.as_ref().is_some_and(|found| !found.is_file()) {
        return fs::write(path, text);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&part)?;
        if let Some(found) = found {
            file.set_permissions(found.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        fs::rename(&part, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::super::attempts::tests::{of_worker, record, started, succeeded};
    use super::*;
    use crate::api::call_id::CallNumber;
    use crate::api::context::AttemptOutcome;
    use crate::api::events::{CallOutcome, Event, EventKind, FailureDetails, Timestamp, WorkerId};
    use crate::api::failure::ExitCause;

    /// A run of many inputs on `workers` workers, of which some fail, crash or are repeated.
    struct Run {
        aggregate: Aggregate,
        elapsed: Duration,
    }

    impl Run {
        fn new() -> Self {
            Self {
                aggregate: Aggregate::default(),
                elapsed: Duration::ZERO,
            }
        }

        fn put(&mut self, call: Option<u64>, worker: u64, attempt: u32, kind: EventKind) {
            self.elapsed += Duration::from_nanos(700);
            let mut event = Event::new("app::resize", kind);
            event.at = Timestamp::new(SystemTime::UNIX_EPOCH + self.elapsed, self.elapsed);
            event.call = call.map(|call| CallNumber(call).of(event.run));
            event.input_index = call.map(|call| call - 1);
            event.attempt = Some(attempt);
            event.worker = Some(WorkerId::new(worker));
            event.worker_pid = Some(u32::try_from(worker % 30_000).unwrap());
            self.aggregate.add(&Record::one(event));
        }

        /// Lets a worker execute an input whose text of failure differs from all others.
        fn input(&mut self, call: u64, worker: u64) {
            self.put(Some(call), worker, 1, EventKind::Queued);
            self.put(Some(call), worker, 1, started());
            let ran = Duration::from_micros(call % 997);
            if !call.is_multiple_of(100) {
                return self.put(Some(call), worker, 1, succeeded(Some(call % 997), 1));
            }
            let text: Box<str> = format!("<b>no \"{call:x}\" & {}", "x".repeat(180)).into();
            let outcome = match call % 300 {
                0 => AttemptOutcome::Crashed(ExitCause::Code(3)),
                _ => AttemptOutcome::Failed,
            };
            self.put(
                Some(call),
                worker,
                1,
                EventKind::AttemptFailed {
                    outcome,
                    error: Some(text.clone()),
                    ran,
                },
            );
            let details = FailureDetails {
                input: Some(text.clone()),
                called: Some("src/main.rs:4:5".into()),
                stderr_tail: Some("</pre>tail\n".repeat(1000).into()),
                panicked_at: None,
            };
            self.put(
                Some(call),
                worker,
                1,
                EventKind::Finished {
                    outcome: CallOutcome::Failed,
                    reason: Some(text),
                    ran: None,
                    ran_of: 0,
                    details: Some(Box::new(details)),
                },
            );
        }
    }

    #[test]
    fn the_report_of_a_million_inputs_is_small() {
        let mut run = Run::new();
        let mut sizes = Vec::new();
        for call in 1..=1_000_000 {
            // A worker is replaced after 500 inputs, in one of eight places.
            let worker = call % 8 + call / 4000 * 8;
            if call % 4000 < 8 {
                run.put(None, worker, 1, EventKind::WorkerStarting);
                let set_up = Duration::from_micros(2);
                run.put(None, worker, 1, EventKind::WorkerUp { set_up });
            }
            run.input(call, worker);
            if call % 4000 >= 3992 {
                let cause = ExitCause::Code(0);
                run.put(None, worker, 1, EventKind::WorkerDown { cause });
            }
            if call == 100_000 || call == 1_000_000 {
                sizes.push(run.aggregate.footprint());
            }
        }
        let totals = run.aggregate.totals();
        assert_eq!((totals.ended, totals.failed), (1_000_000, 10_000));
        assert_eq!(totals.pending, 0);
        let begun = Instant::now();
        let page = page::render(&run.aggregate, State::Ended, Some("settings"));
        eprintln!("{} bytes in {:?}, {sizes:?}", page.len(), begun.elapsed());
        assert!(page.len() < 1_000_000, "{}", page.len());
        // Eight rows of 1024 bars, 200 groups of failures, and the last workers.
        assert!(sizes.iter().all(|size| *size < 9_500), "{sizes:?}");
    }

    #[test]
    fn a_run_without_calls_has_no_rate() {
        let page = page::render(&Aggregate::default(), State::Ended, Some(""));
        assert!(page.contains("No call has ended."), "{page}");
        assert!(!page.contains("per second"), "{page}");
    }

    #[test]
    fn a_report_leaves_links_and_permissions_as_they_are() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = std::env::temp_dir().join(format!("retry-report-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (page, link) = (folder.join("page.html"), folder.join("link.html"));
        fs::write(&page, "old").unwrap();
        fs::set_permissions(&page, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("page.html", &link).unwrap();
        for (path, text) in [(&page, "by its name"), (&link, "by a link")] {
            replace(path, text).unwrap();
            assert_eq!(fs::read_to_string(&page).unwrap(), text);
            let mode = fs::metadata(&page).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(link.is_symlink());
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn texts_are_escaped() {
        let mut run = Run::new();
        run.input(100, 1);
        let settings = "max_workers <script>alert(1)</script>";
        let page = page::render(&run.aggregate, State::Ended, Some(settings));
        for (raw, escaped) in [
            ("<b>no", "&lt;b&gt;no &quot;64&quot; &amp; "),
            ("</pre>tail", "&lt;/pre&gt;tail"),
            ("<script>alert", "&lt;script&gt;alert(1)"),
        ] {
            assert!(!page.contains(raw) && page.contains(escaped), "{raw}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_records() {
        let mut aggregate = Aggregate::default();
        let mut late = of_worker(3000, 5, 1, succeeded(Some(400), 1));
        late.event.attempt = Some(2);
        for record in [
            record(100, 1, 6, EventKind::Queued),
            of_worker(1000, 1, 5, started()),
            of_worker(2000, 1, 3, succeeded(None, 0)),
            of_worker(2000, 4, 1, succeeded(Some(200), 4)),
            of_worker(
                2100,
                5,
                1,
                EventKind::AttemptFailed {
                    outcome: AttemptOutcome::Panicked,
                    error: Some("index 7 is out of bounds".into()),
                    ran: Duration::from_micros(90),
                },
            ),
            of_worker(
                2100,
                5,
                1,
                EventKind::Retrying {
                    delay: Duration::from_millis(20),
                    max_attempts: 3,
                },
            ),
            of_worker(2500, 5, 1, started()),
            late,
            of_worker(3100, 6, 1, started()),
        ] {
            aggregate.add(&record);
        }
        let totals = aggregate.totals();
        assert_eq!(
            (totals.ended, totals.succeeded, totals.after_retry),
            (5, 5, 1)
        );
        assert_eq!((totals.retried, totals.failed, totals.pending), (1, 0, 1));
        let page = page::render(&aggregate, State::FromLog, None);
        for expected in [
            r#"<dd id="calls" data-value="5">5</dd>"#,
            "<b>1 × panicked</b>",
            "index 7 is out of bounds",
            "1: PANIC after 90.0 µs, w1 pid 77, repeated after 20.0 ms",
            "f[0..=3]: succeeded\n800.0 µs from 1.0 ms\nw1 pid 77",
            "f[4], attempt 2: succeeded",
            "Calls that workers had at the end",
            "<code>f[5]</code>",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in {page}");
        }
        assert!(!page.contains(r#"id="settings""#));
    }

    #[test]
    fn the_page_is_complete_at_any_time() {
        let folder = std::env::temp_dir().join(format!("retry-report-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("report.html");
        fs::write(&path, "an earlier run").unwrap();
        let mut report = Report::begin(&path, "max_workers 3".to_owned()).unwrap();
        let page = fs::read_to_string(&path).unwrap();
        assert!(page.contains("The run had not ended") && page.ends_with("</html>"));
        let records = [
            of_worker(1000, 1, 1, started()),
            of_worker(2000, 1, 1, succeeded(Some(200), 1)),
        ];
        report.take_in(records.into()).unwrap();
        report.complete().unwrap();
        let page = fs::read_to_string(&path).unwrap();
        assert!(!page.contains("The run had not ended") && page.contains("max_workers 3"));
        assert!(page.contains(&RunId::current().to_string()));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let missing = Report::begin(&folder.join("none/report.html"), String::new());
        assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(folder).unwrap();
    }
}
