//! What a program prints about its failed calls, and its summary and exit code.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use retry_tests::{example, fixture_outside};
use rustix::process::{Pid, Signal, kill_process};

/// The example may have to be built first.
const LIMIT: Duration = Duration::from_secs(600);

fn nightly(pages: u64) -> Command {
    let mut command = example("nightly");
    command.args(["--pages", &pages.to_string()]);
    command
}

fn complaints(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_failed_call_is_told_with_its_input_attempts_and_output() {
    fixture_outside(LIMIT, || {
        let output = nightly(450).output().unwrap();
        assert!(output.status.success());
        let text = complaints(&output);
        let (_, block) = text.split_once("] render[313]  crashed: SIGABRT").unwrap();
        let (block, _) = block.split_once("FAIL").unwrap_or((block, ""));
        for part in [
            "input    313\n",
            "called   examples/nightly/nightly.rs:",
            "attempts 1  SIGABRT ",
            " 3  SIGABRT ",
            "stderr   the font table of page 313 is broken\n",
            "hint     SIGABRT 3 times in 3 workers: the input is the likely cause",
        ] {
            assert!(block.contains(part), "{part} in {text}");
        }
        for part in [
            "FAIL [   0.000s] render[211] attempt 1 of 3: the printer is busy; retrying in 20ms   worker w",
            "SIGABRT [   0.00",
            "render[417] attempt 1; running it again   worker w",
            "render: 448 of 450 calls ok (3 after a retry), 2 failed\n",
            " × failed, render[107]: page 107 is missing\n",
            "1 × SIGABRT, render[313]: SIGABRT (abort)",
            "4 lost",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("Summary [").count(), 1, "{text}");
    });
}

#[test]
fn only_the_first_failures_of_a_kind_are_told_and_all_are_counted() {
    fixture_outside(LIMIT, || {
        let text = complaints(&nightly(4_000).output().unwrap());
        assert_eq!(text.matches("page # is missing").count(), 0, "{text}");
        let blocks = text
            .lines()
            .filter(|line| line.contains("is missing") && line.contains("FAILED ["));
        assert_eq!(blocks.count(), 5, "{text}");
        assert!(
            text.contains("further failures of render of this kind are only counted"),
            "{text}"
        );
        assert!(text.contains("8 × failed, first render["), "{text}");
    });
}

#[test]
fn status_lines_are_as_many_as_the_mode_says() {
    fixture_outside(LIMIT, || {
        for (mode, retry, failed, summary, all) in [
            ("none", false, false, false, false),
            ("fail", false, true, true, false),
            ("retry", true, true, true, false),
            ("all", true, true, true, true),
        ] {
            let text = complaints(&nightly(250).env("RETRY_STATUS", mode).output().unwrap());
            let has = |part: &str| text.contains(part);
            assert_eq!(has("render[211] attempt 1 of 3"), retry, "{mode}: {text}");
            assert_eq!(has("FAILED ["), failed, "{mode}: {text}");
            assert_eq!(has("Summary ["), summary, "{mode}: {text}");
            assert_eq!(has("render[100]"), all, "{mode}: {text}");
            assert_eq!(has("OK ON 2"), all, "{mode}: {text}");
        }
        let wrong = nightly(1).env("RETRY_STATUS", "some").output().unwrap();
        assert_eq!(wrong.status.code(), Some(2));
        let problem = "error: RETRY_STATUS=\"some\" must be none, fail, retry or all\n";
        assert_eq!(complaints(&wrong), problem);
    });
}

#[test]
fn a_short_run_without_failures_prints_nothing() {
    fixture_outside(LIMIT, || {
        let output = nightly(100).output().unwrap();
        assert_eq!(complaints(&output), "");
    });
}

#[test]
fn inputs_are_not_shown_if_that_is_not_wanted() {
    fixture_outside(LIMIT, || {
        let text = complaints(&nightly(120).env("RETRY_SHOW_INPUTS", "0").output().unwrap());
        assert!(text.contains("FAILED ["), "{text}");
        assert!(!text.contains("input "), "{text}");
    });
}

#[test]
fn the_exit_code_is_that_of_the_failures_that_count() {
    fixture_outside(LIMIT, || {
        for (pages, fail_on, code) in [
            (450, "never", 0),
            (450, "failed", 100),
            (100, "retried", 0),
            (450, "retried", 100),
        ] {
            let output = nightly(pages)
                .env("RETRY_FAIL_ON", fail_on)
                .output()
                .unwrap();
            let text = complaints(&output);
            assert_eq!(output.status.code(), Some(code), "{fail_on}: {text}");
            let said = text.contains("(RETRY_FAIL_ON)");
            assert_eq!(said, code == 100, "{fail_on}: {text}");
        }
    });
}

#[test]
fn a_run_that_takes_a_while_is_announced() {
    fixture_outside(LIMIT, || {
        let text = complaints(&nightly(3_000).output().unwrap());
        let (before, after) = text
            .split_once("     Running render over 3,000 inputs on ")
            .unwrap();
        let (line, _) = after.split_once('\n').unwrap();
        assert!(line.contains(" (run ") && line.ends_with(')'), "{line}");
        assert!(
            !before.contains("Summary") && !after.contains("Running"),
            "{text}"
        );
        let run = line.split_once("(run ").unwrap().1.trim_end_matches(')');
        assert!(text.trim_end().ends_with(run), "{text}");
    });
}

#[test]
fn a_program_whose_output_nobody_reads_ends_without_a_message() {
    fixture_outside(LIMIT, || {
        let mut process = Command::new(env!("CARGO_BIN_EXE_counting"))
            .args(["--how", "map"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(141));
        let text = complaints(&output);
        assert!(!text.contains("panicked"), "{text}");
    });
}

#[test]
fn a_program_that_is_asked_lists_its_running_calls_and_goes_on() {
    fixture_outside(LIMIT, || {
        let mut process = Command::new(env!("CARGO_BIN_EXE_counting"))
            .args(["--how", "interrupted"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let begun = lines.by_ref().filter(|line| line.contains("sleeping"));
        assert_eq!(begun.take(2).count(), 2);
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::USR1).unwrap();
        let complaints = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut complaints = complaints.map_while(Result::ok);
        let running: Vec<_> = complaints
            .by_ref()
            .take_while(|line| !line.contains("Executing 2 calls, 38 more wait"))
            .filter(|line| line.contains("     Running ") && line.contains("attempt 1 "))
            .collect();
        assert_eq!(running.len(), 2, "{running:?}");
        assert!(
            running
                .iter()
                .all(|line| line.contains(" pid ") && line.contains("iB")),
            "{running:?}"
        );
        // It still ends as asked.
        kill_process(pid, Signal::INT).unwrap();
        assert!(lines.any(|line| line == "main got 40 results"));
        lines.for_each(drop);
        complaints.for_each(drop);
        assert_eq!(process.wait().unwrap().code(), Some(130));
    });
}
