//! The report and the trace of a run, also of one that was killed or interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_runtime::events::{CallOutcome, EventKind, Log};
use retry_runtime::report;
use retry_tests::{eventually, example, fixture_outside};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The example may have to be built first.
const LIMIT: Duration = Duration::from_secs(600);

const SOON: Duration = Duration::from_secs(30);

/// The files of a run.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lets a program write all of them.
    fn of(&self, mut command: Command) -> Command {
        command
            .env("RETRY_EVENTS", self.path("run.jsonl"))
            .env("RETRY_REPORT", self.path("report.html"))
            .env("RETRY_TRACE", self.path("trace.json"))
            .env("RETRY_STATUS", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn nightly(&self, pages: u64) -> Command {
        let mut command = self.of(example("nightly"));
        command.args(["--pages", &pages.to_string()]);
        command
    }

    fn page(&self) -> String {
        fs::read_to_string(self.path("report.html")).unwrap()
    }

    fn trace(&self) -> Vec<Value> {
        read_trace(&self.path("trace.json"))
    }
}

fn read_trace(path: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns the number that a page has under a name.
fn number(page: &str, name: &str) -> u64 {
    let start = format!("id=\"{name}\" data-value=\"");
    let (_, rest) = page
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {name}: {page}"));
    rest.split('"').next().unwrap().parse().unwrap()
}

/// The counts that a log gives.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    succeeded: u64,
    after_retry: u64,
    failed: u64,
    retried: u64,
    workers: u64,
    /// All attempts whose end is known, and those that ended with their worker.
    attempts: u64,
    crashed: u64,
    /// The first input that ended with each kind of failure.
    first: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn of_log(path: &Path) -> Self {
        let mut counts = Self::default();
        for event in Log::open(path).unwrap() {
            let event = event.unwrap();
            match event.kind {
                EventKind::Finished {
                    outcome: CallOutcome::Succeeded,
                    ..
                } => {
                    counts.succeeded += 1;
                    counts.attempts += 1;
                    counts.after_retry += u64::from(event.attempt > Some(1));
                }
                EventKind::Finished { outcome, .. } => {
                    counts.failed += 1;
                    if let Some(index) = event.input_index {
                        counts.first.entry(outcome.as_str()).or_insert(index);
                    }
                }
                EventKind::AttemptFailed { outcome, .. } => {
                    counts.attempts += 1;
                    let crashed = matches!(outcome, retry_runtime::AttemptOutcome::Crashed(_));
                    counts.crashed += u64::from(crashed);
                }
                EventKind::Retrying { .. } => counts.retried += 1,
                EventKind::WorkerUp { .. } => counts.workers += 1,
                _ => {}
            }
        }
        counts
    }

    /// Checks a page against the log.
    fn check_page(&self, page: &str) {
        for (name, expected) in [
            ("calls", self.succeeded + self.failed),
            ("succeeded", self.succeeded),
            ("after-retry", self.after_retry),
            ("failed", self.failed),
            ("retried", self.retried),
            ("workers", self.workers),
        ] {
            assert_eq!(number(page, name), expected, "{name}");
        }
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
    }

    /// Checks a trace against the log.
    fn check_trace(&self, trace: &[Value]) {
        let named = |what: &str, key: &str| -> BTreeSet<u64> {
            let names = trace.iter().filter(|event| event["name"] == what);
            names.map(|event| event[key].as_u64().unwrap()).collect()
        };
        let (processes, threads) = (named("process_name", "pid"), named("thread_name", "tid"));
        let mut rows: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
        let (mut attempts, mut crashed, mut failed) = (0, 0, 0);
        for event in trace {
            let category = event["cat"].as_str().unwrap_or_default();
            assert!(
                processes.contains(&event["pid"].as_u64().unwrap()),
                "{event}"
            );
            match event["ph"].as_str().unwrap() {
                "X" => {
                    let (begun, ran) = (
                        event["ts"].as_f64().unwrap(),
                        event["dur"].as_f64().unwrap(),
                    );
                    assert!(begun >= 0.0 && ran >= 0.0, "{event}");
                    let thread = event["tid"].as_u64().unwrap();
                    assert!(threads.contains(&thread), "{event}");
                    rows.entry(thread).or_default().push((begun, begun + ran));
                    if category == "attempt" {
                        attempts += event["args"]["count"].as_u64().unwrap();
                    }
                }
                "i" => {
                    crashed += u64::from(category == "crash");
                    failed += u64::from(category == "failure");
                }
                "C" | "M" => {}
                other => panic!("{other}"),
            }
        }
        assert_eq!(
            (attempts, crashed, failed),
            (self.attempts, self.crashed, self.failed)
        );
        for (thread, mut spans) in rows {
            spans.sort_by(|one, other| one.0.total_cmp(&other.0));
            for pair in spans.windows(2) {
                // Microseconds as floats are exact to less than a nanosecond.
                assert!(pair[0].1 <= pair[1].0 + 0.001, "{thread}: {pair:?}");
            }
        }
    }
}

#[test]
fn a_report_and_a_trace_have_the_counts_of_the_log() {
    fixture_outside(LIMIT, || {
        let files = Files::new();
        assert!(files.nightly(6_000).status().unwrap().success());
        let log = files.path("run.jsonl");
        let counts = Counts::of_log(&log);
        assert_eq!((counts.succeeded, counts.failed), (5_981, 19));
        assert_eq!(counts.crashed, 6 * 3 + 6);
        let page = files.page();
        counts.check_page(&page);
        counts.check_trace(&files.trace());
        assert_eq!(
            (number(&page, "pending"), number(&page, "cancelled")),
            (0, 0)
        );
        assert_eq!(number(&page, "lost"), counts.crashed);
        assert!(!page.contains("had not ended"));
        // The example of a kind of failure is the first to end. A later page may be given up before page 313,
        // since a crashed input goes to the back of the queue.
        let (missing, broken) = (counts.first["failed"], counts.first["crashed"]);
        assert!([107, 507].contains(&(missing % 1_000)) && broken % 1_000 == 313);
        let missing = format!("page {missing} is missing");
        let broken = format!("<pre>the font table of page {broken} is broken</pre>");
        for expected in [
            "<b>12 × failed</b>",
            "<b>6 × SIGABRT</b>",
            "<b>1 × timed out</b>",
            &missing,
            &broken,
            "<code>render[5521]</code>",
            "examples/nightly/nightly.rs:",
            "RETRY_REPORT",
        ] {
            assert!(page.contains(expected), "{expected:?} is not in {page}");
        }
        let mut settings = page.lines().map(|line| line.split_whitespace().take(2));
        assert!(
            settings.any(|words| words.eq(["timeout", "300ms"])),
            "{page}"
        );
        // The log alone has the same run.
        let offline = example("report").arg("--log").arg(&log).output().unwrap();
        assert!(offline.status.success(), "{offline:?}");
        let again = fs::read_to_string(files.path("run.html")).unwrap();
        counts.check_page(&again);
        let drawing = |page: &str| {
            let (_, rest) = page.split_once("<section id=\"timeline\">").unwrap();
            rest.split_once("</section>")
                .unwrap()
                .0
                .matches("<g>")
                .count()
        };
        assert!(drawing(&page) > 100 && drawing(&page) < 3000);
        assert_eq!(drawing(&page), drawing(&again));
        counts.check_trace(&read_trace(&files.path("run.trace.json")));
    });
}

#[test]
fn a_killed_run_leaves_a_log_to_report_and_a_whole_trace() {
    fixture_outside(LIMIT, || {
        let files = Files::new();
        let log = files.path("run.jsonl");
        let mut process = files.nightly(1_000_000).spawn().unwrap();
        eventually("the log grows", Duration::from_secs(60), || {
            fs::metadata(&log).is_ok_and(|file| file.len() > 300_000)
        });
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(files.page().contains("had not ended"));
        // Each write leaves a whole array, and a kill may only interrupt the last one.
        let text = fs::read_to_string(files.path("trace.json")).unwrap();
        let whole = match text.ends_with("\n]\n") {
            true => text,
            false => format!("{}]", &text[..text.rfind(",\n").unwrap()]),
        };
        let trace: Vec<Value> = serde_json::from_str(&whole).unwrap();
        assert!(trace.iter().filter(|event| event["ph"] == "X").count() > 100);

        let counts = Counts::of_log(&log);
        let (page, trace) = (files.path("killed.html"), files.path("killed.json"));
        report::from_log(&log, &page).unwrap();
        report::trace_from_log(&log, &trace).unwrap();
        let page = fs::read_to_string(page).unwrap();
        counts.check_page(&page);
        assert!(number(&page, "pending") > 0);
        assert!(page.contains("Calls that workers had at the end"));
        counts.check_trace(&read_trace(&trace));
    });
}

#[test]
fn an_interrupted_run_has_a_report() {
    fixture_outside(LIMIT, || {
        let files = Files::new();
        let mut process = files.nightly(1_000_000).spawn().unwrap();
        let log = files.path("run.jsonl");
        eventually("the log grows", Duration::from_secs(60), || {
            fs::metadata(&log).is_ok_and(|file| file.len() > 300_000)
        });
        kill_process(Pid::from_child(&process), Signal::INT).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(130));
        let page = files.page();
        assert!(number(&page, "cancelled") > 0 && !page.contains("had not ended"));
        let succeeded = Counts::of_log(&log).succeeded;
        assert_eq!(number(&page, "succeeded"), succeeded);
        assert!(!files.trace().is_empty());
    });
}

/// A program that calls `init` alone.
#[test]
fn a_plain_program_has_a_report() {
    fixture_outside(LIMIT, || {
        let files = Files::new();
        let mut command = files.of(Command::new(env!("CARGO_BIN_EXE_reporting")));
        assert!(command.arg("again").status().unwrap().success());
        let page = files.page();
        let counts = Counts::of_log(&files.path("run.jsonl"));
        counts.check_page(&page);
        counts.check_trace(&files.trace());
        assert_eq!((counts.failed, counts.attempts), (1, 4));
        assert!(page.contains("<b>1 × panicked</b>") && page.contains("every time"));
    });
}

/// A child that was forked has the same variables, and would replace the files.
#[test]
fn a_forked_child_leaves_the_report_and_the_trace_alone() {
    fixture_outside(LIMIT, || {
        let files = Files::new();
        let mut command = files.of(Command::new(env!("CARGO_BIN_EXE_forking")));
        command.args(["--what", "call-in-fork"]);
        assert!(command.status().unwrap().success());
        assert_eq!(number(&files.page(), "succeeded"), 2);
        let trace = files.trace();
        let attempts = trace.iter().filter(|event| event["cat"] == "attempt");
        assert_eq!(attempts.count(), 2);
        // A log has the events of both.
        let log = files.path("run.jsonl");
        assert_eq!(Counts::of_log(&log).succeeded, 7);
    });
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_of_the_first_call() {
    fixture_outside(LIMIT, || {
        for (variable, file) in [
            ("RETRY_REPORT", "report /nowhere/file"),
            ("RETRY_TRACE", "trace /nowhere/file"),
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_reporting"))
                .args(["fails", "--line"])
                .env(variable, "/nowhere/file")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let problem = format!("the {file} cannot be written: No such file or directory");
            assert!(text.contains(&problem), "{text}");
            // The machine is not at fault.
            assert!(!text.contains("left for making calls"), "{text}");
        }
    });
}

#[test]
fn two_files_of_a_run_do_not_share_a_path() {
    fixture_outside(LIMIT, || {
        let files = Files::new();
        let path = files.path("same");
        let run = |path: &Path| {
            Command::new(env!("CARGO_BIN_EXE_reporting"))
                .args(["fails", "--line"])
                .envs([("RETRY_EVENTS", path), ("RETRY_TRACE", path)])
                .output()
                .unwrap()
        };
        let output = run(&path);
        let text = String::from_utf8_lossy(&output.stdout);
        let (path, name) = (
            path.display(),
            "cannot be written: it would destroy the event log",
        );
        let problem = format!("the trace {path} {name} {path}: give it a path of its own");
        assert!(text.contains(&problem), "{text}");
        // Nor by another name.
        let link = files.path("link");
        std::os::unix::fs::symlink("same", &link).unwrap();
        for (events, trace) in [("./same", "same"), ("same", "link"), ("link", "same")] {
            let output = Command::new(env!("CARGO_BIN_EXE_reporting"))
                .args(["fails", "--line"])
                .envs([("RETRY_EVENTS", events), ("RETRY_TRACE", trace)])
                .current_dir(link.parent().unwrap())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let problem = format!("the trace {trace} {name} {events}: give it a path of its own");
            assert!(text.contains(&problem), "{text}");
        }
        // Nothing is destroyed there.
        let output = run(Path::new("/dev/null"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("cannot be written"), "{text}");
    });
}

#[test]
fn a_pipe_gets_one_report_at_the_end() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let pipe = pipe_in(&directory);
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap())
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_reporting"));
        command.arg("again").env("RETRY_REPORT", &pipe);
        assert!(command.status().unwrap().success());
        let page = reader.join().unwrap();
        assert_eq!(page.matches("</html>").count(), 1);
        assert_eq!(number(&page, "failed"), 1);
    });
}

/// Nothing opens the other end of a pipe, so that the program waits for it.
#[test]
fn a_signal_ends_a_program_that_waits_for_one_of_its_files() {
    fixture_outside(LIMIT, || {
        for variable in ["RETRY_EVENTS", "RETRY_TRACE"] {
            let directory = tempfile::tempdir().unwrap();
            let pipe = pipe_in(&directory);
            let mut process = Command::new(env!("CARGO_BIN_EXE_counting"))
                .args(["--how", "interrupted"])
                .env(variable, &pipe)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let mut lines = lines.map_while(Result::ok);
            assert_eq!(lines.next().as_deref(), Some("main begins"));
            eventually("it opens the pipe", SOON, || waits_for_pipe(process.id()));
            kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
            assert_eq!(process.wait().unwrap().code(), Some(143), "{variable}");
        }
    });
}

#[test]
fn the_next_signal_ends_a_program_whose_log_is_not_read() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let pipe = pipe_in(&directory);
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::File::open(pipe).unwrap())
        };
        // More events than the pipe takes.
        let mut command = example("nightly");
        command.args(["--pages", "2000"]).env("RETRY_EVENTS", &pipe);
        let mut process = command.stderr(Stdio::null()).spawn().unwrap();
        let _unread = reader.join().unwrap();
        // The program would wait for ten seconds.
        eventually("signals end it", Duration::from_secs(8), || {
            let _ = kill_process(Pid::from_child(&process), Signal::TERM);
            process.try_wait().unwrap().is_some()
        });
    });
}

fn pipe_in(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path
}

/// Returns whether a thread of a process waits for the other end of a pipe.
fn waits_for_pipe(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().any(|thread| {
        let place = fs::read_to_string(thread.path().join("wchan"));
        place.is_ok_and(|place| place.contains("wait_for_partner"))
    })
}
