//! The event log of a run, also of one that was killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_runtime::error::AttemptOutcome;
use retry_runtime::events::{CallOutcome, EventKind, Log};
use retry_tests::{eventually, example, fixture_outside, root};

/// The example may have to be built first.
const LIMIT: Duration = Duration::from_secs(600);

/// Runs the example with a log.
fn nightly(pages: u64, log: &Path) -> Command {
    let mut command = example("nightly");
    command
        .args(["--pages", &pages.to_string()])
        .env("RETRY_EVENTS", log)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Checks that each line of a log is valid by the published schema.
fn check_schema(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap();
    check_lines(&text);
}

/// Checks that each line is valid by the published schema. The last one may be cut off.
fn check_lines(text: &str) {
    let schema = std::fs::read_to_string(root().join("docs/events.schema.json")).unwrap();
    let schema = serde_json::from_str(&schema).unwrap();
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", schema).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str(line) else {
            assert!(!text.ends_with('\n') && text.ends_with(line), "{line}");
            continue;
        };
        if let Err(problem) = schemas.validate(&value, index) {
            panic!("{line}: {problem:#}");
        }
    }
}

#[test]
fn a_log_has_every_call_and_attempt_and_fits_its_schema() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.jsonl");
        assert!(nightly(6_000, &path).status().unwrap().success());
        check_schema(&path);
        let hangs = |page: u64| page % 1_000 == 521 && page > 5_000;
        let mut calls: BTreeMap<u64, (u32, u32, Vec<CallOutcome>)> = BTreeMap::new();
        let mut late = BTreeMap::new();
        let (mut up, mut down) = (0, 0);
        for event in Log::open(&path).unwrap() {
            let event = event.unwrap();
            let call = event
                .input_index
                .map(|index| calls.entry(index).or_default());
            match (&event.kind, call) {
                // On a loaded machine any page may exceed the timeout of 300 ms.
                (
                    EventKind::AttemptFailed {
                        outcome: AttemptOutcome::TimedOut(_),
                        ..
                    },
                    Some(_),
                ) if event.input_index.is_some_and(|page| !hangs(page)) => {
                    *late.entry(event.input_index.unwrap()).or_default() += 1;
                }
                (EventKind::AttemptFailed { .. }, Some(call)) => call.0 += 1,
                (EventKind::Retrying { .. }, Some(call)) => call.1 += 1,
                (EventKind::Finished { outcome, .. }, Some(call)) => call.2.push(*outcome),
                (EventKind::WorkerUp { .. }, _) => up += 1,
                (EventKind::WorkerDown { .. }, _) => down += 1,
                _ => {}
            }
        }
        assert_eq!(calls.len(), 6_000);
        assert_eq!(up, down, "the log goes on until the last worker has ended");
        for (page, (failed, retries, outcomes)) in calls {
            let expected = match page % 1_000 {
                107 | 507 => (1, 0, CallOutcome::Failed),
                211 | 411 | 811 => (1, 1, CallOutcome::Succeeded),
                313 => (3, 2, CallOutcome::Crashed),
                417 => (1, 1, CallOutcome::Succeeded),
                _ if hangs(page) => (3, 2, CallOutcome::TimedOut),
                _ => (0, 0, CallOutcome::Succeeded),
            };
            let retries = retries - late.get(&page).copied().unwrap_or(0);
            assert_eq!(
                (failed, retries, &outcomes[..]),
                (expected.0, expected.1, &[expected.2][..]),
                "{page}"
            );
        }
    });
}

#[test]
fn slow_and_expiring_attempts_and_failed_starts_are_in_a_log_that_fits_its_schema() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.jsonl");
        for how in ["hang", "set-up"] {
            let status = Command::new(env!("CARGO_BIN_EXE_lagging"))
                .args(["--how", how])
                .env("STARTS", directory.path().join("starts"))
                .env("RETRY_EVENTS", &path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.unwrap().success());
        }
        check_schema(&path);
        let (mut slow, mut terminating, mut failed_starts) = (Vec::new(), Vec::new(), 0);
        for event in Log::open(&path).unwrap() {
            let event = event.unwrap();
            match event.kind {
                EventKind::Slow {
                    elapsed, timeout, ..
                } => {
                    assert!(elapsed >= timeout / 2 && elapsed < timeout, "{elapsed:?}");
                    slow.push((event.input_index, event.attempt));
                }
                EventKind::Terminating { grace, .. } => {
                    assert_eq!(grace, Duration::from_secs(2));
                    terminating.push((event.input_index, event.attempt));
                }
                EventKind::SetUpFailed {
                    reason,
                    tries_again,
                    ..
                } => {
                    assert_eq!((&*reason, tries_again), ("no such file: m.onnx", true));
                    failed_starts += 1;
                }
                _ => {}
            }
        }
        slow.sort_unstable();
        terminating.sort_unstable();
        let expected = [1, 3].map(|input| (Some(input), Some(1)));
        assert_eq!(
            (&slow[..], &terminating[..]),
            (&expected[..], &expected[..])
        );
        assert_eq!(failed_starts, 2);
    });
}

#[test]
fn a_killed_run_leaves_a_log_of_whole_lines() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fixture_outside(LIMIT, || {
        let mut random = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let path = directory.path().join(format!("{}.jsonl", random.u32(..)));
            let mut process = nightly(1_000_000, &path).spawn().unwrap();
            let least = random.u64(1..300_000);
            eventually("the log grows", Duration::from_secs(60), || {
                std::fs::metadata(&path).is_ok_and(|file| file.len() > least)
            });
            process.kill().unwrap();
            process.wait().unwrap();
            // A killed program may damage no line but the last.
            let text = std::fs::read_to_string(&path).unwrap();
            let end = text.floor_char_boundary(text.len().saturating_sub(100_000));
            check_lines(&text[text[..end].rfind('\n').map_or(0, |line| line + 1)..]);
            let events: Vec<_> = Log::open(&path).unwrap().map(Result::unwrap).collect();
            assert!(!events.is_empty());
            let run = events[0].run;
            assert!(events.iter().all(|event| event.run == run));
        }
    });
}

#[test]
fn a_line_that_was_cut_off_spoils_no_other() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("run.jsonl");
        assert!(nightly(50, &log).status().unwrap().success());
        let whole = std::fs::read(&log).unwrap();
        std::fs::write(&log, &whole[..whole.len() - 7]).unwrap();
        assert!(nightly(50, &log).status().unwrap().success());
        let events = Log::open(&log).unwrap().map(Result::unwrap);
        let queued = events.filter(|event| event.kind == EventKind::Queued);
        assert_eq!(queued.count(), 100);
    });
}

#[test]
fn a_log_that_is_still_written_can_be_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    let line = r#"{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1,"elapsed":0,"event":"queued","call":7}"#;
    let (begun, rest) = line.split_at(40);
    std::fs::write(&path, format!("{line}\n{begun}")).unwrap();
    let mut log = Log::open(&path).unwrap();
    assert_eq!(log.by_ref().map(Result::unwrap).count(), 1);
    std::fs::write(&path, format!("{line}\n{begun}{rest}\n")).unwrap();
    assert_eq!(log.by_ref().map(Result::unwrap).count(), 1);
}

#[test]
fn kinds_of_events_from_a_later_release_are_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.jsonl");
    let line = |event: &str| {
        format!(
            r#"{{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1,"elapsed":0,"event":"{event}","call":7}}"#
        )
    };
    let lines = [line("queued"), line("dance"), line("queued")].join("\n") + "\n";
    std::fs::write(&path, lines).unwrap();
    let events: Vec<_> = Log::open(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.kind == EventKind::Queued));
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_of_the_first_call() {
    fixture_outside(LIMIT, || {
        let output = example("nightly")
            .args(["--pages", "1"])
            .env("RETRY_EVENTS", "/nowhere/run.jsonl")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("1 failed"), "{text}");
    });
}
