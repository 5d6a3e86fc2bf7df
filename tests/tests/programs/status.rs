//! Tests of what a program prints about its failed calls, of its summary and its exit code.

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

fn lagging(how: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lagging"));
    command.args(["--how", how]);
    command
}

/// Returns the lines that begin with a status word.
fn lines<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let begins = |line: &&str| line.trim_start().starts_with(&format!("{word} ["));
    text.lines().filter(begins).collect()
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
            "s] render[211] attempt 1 of 3: the printer is busy; retrying in 20ms   worker w",
            "        FAIL [   ",
            "     SIGABRT [   ",
            "render[417] attempt 1; running it again   worker w",
            "render: 448 of 450 calls ok (3 after a retry), 2 failed",
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
        let text = complaints(&nightly(100).output().unwrap());
        // A loaded machine may hold a page up for half of its timeout.
        let lines = text.lines().filter(|line| !line.contains("SLOW ["));
        assert_eq!(lines.collect::<Vec<_>>(), [""; 0], "{text}");
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

/// Such calls never reach a worker, nor the scheduler.
#[test]
fn calls_that_are_refused_count_as_failed() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("run.jsonl");
        let mut command = lagging("too large");
        command
            .env("RETRY_MAX_MESSAGE", "64B")
            .env("RETRY_EVENTS", &log);
        let output = command.env("RETRY_FAIL_ON", "failed").output().unwrap();
        let text = complaints(&output);
        assert_eq!(output.status.code(), Some(100), "{text}");
        let summary = "measures: 2 of 20 calls ok, 18 failed";
        assert!(text.contains(summary), "{text}");
        assert_eq!(lines(&text, "FAILED").len(), 5, "{text}");
        let log = std::fs::read_to_string(log).unwrap();
        for event in ["queued", "finished"] {
            let event = format!("\"event\":\"{event}\"");
            let of_each = log
                .lines()
                .filter(|line| line.contains(&event))
                .map(count_of);
            assert_eq!(of_each.sum::<u64>(), 20, "{log}");
        }
        // There is no runtime to count them.
        let mut command = nightly(100);
        command.env("RETRY_REPORT", directory.path().join("none/report.html"));
        let output = command.env("RETRY_FAIL_ON", "failed").output().unwrap();
        let text = complaints(&output);
        assert_eq!(output.status.code(), Some(100), "{text}");
        let line = "100 calls ended without being run, first render: ";
        assert!(
            text.contains(line) && text.contains("none/report.html"),
            "{text}"
        );
    });
}

/// Returns the number of calls that a line of an event log is about.
fn count_of(line: &str) -> u64 {
    let count = line.split_once("\"count\":");
    count.map_or(1, |(_, rest)| {
        let digits = rest.chars().take_while(char::is_ascii_digit);
        digits.collect::<String>().parse().unwrap()
    })
}

#[test]
fn status_lines_that_cannot_be_written_change_no_result() {
    fixture_outside(LIMIT, || {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = nightly(450).stderr(full).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty());
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
fn attempts_that_reach_half_of_their_timeout_and_all_of_it_are_told() {
    fixture_outside(LIMIT, || {
        let output = lagging("hang").output().unwrap();
        let text = complaints(&output);
        assert_eq!(output.stdout, b"main got 4\n", "{text}");
        for input in [1, 3] {
            let subject = format!("hangs[{input}] attempt 1 of 2");
            for (word, after) in [
                ("SLOW", "   worker w"),
                ("TERMINATING", ": timeout 5s, killed after 2s   worker w"),
                ("TIMEOUT", "; running it again   worker w"),
            ] {
                let of_input = |line: &&&str| line.contains(&format!("] {subject}{after}"));
                let lines = lines(&text, word);
                assert_eq!(lines.iter().filter(of_input).count(), 1, "{word} {text}");
                assert_eq!(lines.len(), 2, "{word} {text}");
            }
        }
        assert_eq!(
            text.matches("TERMINATING [>  5.000s] ").count(),
            2,
            "{text}"
        );
        let summary = "hangs: 4 of 4 calls ok (2 after a retry), 2 slow attempts\n";
        assert!(text.contains(summary), "{text}");
    });
}

#[test]
fn of_several_inputs_at_once_the_slow_one_is_told() {
    fixture_outside(LIMIT, || {
        let output = lagging("hang beside others").output().unwrap();
        let text = complaints(&output);
        assert_eq!(output.stdout, b"main got 3\n", "{text}");
        let lines = lines(&text, "SLOW");
        assert_eq!(lines.len(), 1, "{text}");
        assert!(
            lines[0].contains("] hangs_beside_others[2] attempt 1 of 1   worker w1 pid "),
            "{text}"
        );
        assert!(!text.contains("TERMINATING"), "there is no grace: {text}");
    });
}

#[test]
fn a_failed_start_is_told_and_tried_again() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let mut command = lagging("set-up");
        command.env("STARTS", directory.path().join("starts"));
        let output = command.output().unwrap();
        let text = complaints(&output);
        assert_eq!(output.stdout, b"main got 3\n", "{text}");
        let lines = lines(&text, "SETUP FAIL");
        assert_eq!(lines.len(), 2, "{text}");
        for line in lines {
            assert!(
                line.contains("s] embeds: no such file: m.onnx   worker w"),
                "{text}"
            );
            assert!(line.ends_with("; trying again"), "{text}");
        }
        assert!(text.contains(", 2 failed starts\n"), "{text}");
    });
}

#[test]
fn many_calls_that_wait_for_a_broken_set_up_are_one_block() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let starts = directory.path().join("starts");
        let mut command = lagging("never ready");
        command.env("STARTS", &starts).env("RETRY_OUTPUT", "none");
        let output = command.output().unwrap();
        let text = complaints(&output);
        assert_eq!(output.stdout, b"main got 1000\n", "{text}");
        let summary = "never_ready: 0 of 1,000 calls ok, 1,000 failed";
        assert!(text.contains(summary), "{text}");
        let reason = "never_ready[0]  startup: setup failed: no such file: n.onnx\n";
        assert_eq!(lines(&text, "FAILED").len(), 1, "{text}");
        assert!(text.contains(reason), "{text}");
        let block = "stderr   looking into /nowhere\n";
        assert_eq!(text.matches(block).count(), 1, "{text}");
        // The map tries again after pauses that grow, and not for each input.
        let starts = std::fs::read_to_string(starts).unwrap();
        assert!(starts.lines().count() < 100, "{starts}");
    });
}

#[test]
fn a_text_that_is_blank_or_would_change_the_terminal_is_made_visible() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("report.html");
        let output = lagging("texts")
            .env("RETRY_REPORT", &page)
            .output()
            .unwrap();
        let text = complaints(&output);
        assert_eq!(output.stdout, b"main got 4\n", "{text}");
        for part in [
            "fails_with[0]  (no text)\n",
            "fails_with[1]  after blank lines ...\n",
            "fails_with[2]  \\u{202e}fdp.exe^@\n",
            "1 × failed, fails_with[0]: (no text)\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let page = std::fs::read_to_string(page).unwrap();
        let is_hidden =
            |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
        assert!(!page.contains(is_hidden));
        assert!(page.contains("\\u{202e}fdp.exe^@") && page.contains("(no text)"));
    });
}

/// The program does not run the line itself, in which a worker makes the call.
#[test]
fn a_nested_call_that_fails_is_told_with_the_line_that_makes_it() {
    fixture_outside(LIMIT, || {
        let text = complaints(&lagging("texts").output().unwrap());
        let (_, block) = text.split_once("] fails_with  nested\n").unwrap();
        let mut lines = block.lines().map(str::trim_start);
        assert_eq!(lines.next(), Some("input    \"nested\""), "{text}");
        let called = lines.next().unwrap();
        assert!(
            called.starts_with("called   tests/src/bin/lagging.rs:"),
            "{text}"
        );
    });
}

#[test]
fn the_summary_names_the_files_and_ends_with_the_run() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let mut command = nightly(120);
        command.current_dir(directory.path());
        for (variable, file) in [
            ("RETRY_EVENTS", "run.jsonl"),
            ("RETRY_REPORT", "report.html"),
            ("RETRY_TRACE", "trace.json"),
        ] {
            command.env(variable, file);
        }
        let text = complaints(&command.output().unwrap());
        let files = "      Events run.jsonl\n      Report report.html\n       Trace trace.json\n         Run ";
        let (_, run) = text.split_once(files).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(run.trim_end().len(), 13, "{text}");
        // A file that is not complete is not among them.
        let mut command = nightly(120);
        command.env("RETRY_EVENTS", "/dev/full");
        let text = complaints(&command.output().unwrap());
        assert!(
            text.contains("the event log /dev/full is not complete: "),
            "{text}"
        );
        assert!(!text.contains("Events /dev/full"), "{text}");
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
            .take_while(|line| !line.contains("Executing 2 calls, 38 queued; 0 done"))
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

#[test]
fn running_calls_are_listed_with_what_they_print_and_the_others_by_state() {
    fixture_outside(LIMIT, || {
        let mut process = lagging("print")
            .env("RETRY_SHUTDOWN_GRACE", "0s")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let complaints = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut complaints = complaints.map_while(Result::ok);
        let begun = complaints
            .by_ref()
            .filter(|line| line.contains("]: working on page "));
        assert_eq!(begun.take(2).count(), 2);
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::USR1).unwrap();
        let mut running = Vec::new();
        let counts = loop {
            let line = complaints.next().expect("it answers");
            if line.contains("   Executing ") {
                break line;
            }
            running.extend(line.contains("     Running ").then_some(line));
        };
        assert_eq!(running.len(), 2, "{running:?}");
        for line in running {
            let (_, page) = line.split_once("prints[").unwrap();
            let (page, _) = page.split_once(']').unwrap();
            assert!(
                line.ends_with(&format!("iB  working on page {page}")),
                "{line}"
            );
        }
        let states = "Executing 2 calls, 4 queued, 3 wait for a retry, the next in ";
        let (_, rest) = counts
            .split_once(states)
            .unwrap_or_else(|| panic!("{counts}"));
        let (seconds, done) = rest.split_once("s; ").unwrap();
        let seconds: f64 = seconds.parse().unwrap();
        assert!((1.0..=3600.0).contains(&seconds), "{counts}");
        assert_eq!(done, "1 done");
        kill_process(pid, Signal::INT).unwrap();
        complaints.for_each(drop);
        assert_eq!(process.wait().unwrap().code(), Some(130));
    });
}

#[test]
fn a_file_is_kept_from_other_programs_and_told_if_it_was_removed() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["run.jsonl", "trace.json"].map(|name| directory.path().join(name));
        let [log, trace] = &paths;
        let mut process = Command::new(env!("CARGO_BIN_EXE_counting"))
            .args(["--how", "interrupted"])
            .envs([("RETRY_EVENTS", log), ("RETRY_TRACE", trace)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let begun = lines.by_ref().filter(|line| line.contains("sleeping"));
        assert_eq!(begun.take(2).count(), 2);
        let other = lagging("texts").env("RETRY_TRACE", trace).output().unwrap();
        let problem = format!(
            "the trace {} cannot be written: another program is writing it: give each a path of its own",
            trace.display()
        );
        assert!(complaints(&other).contains(&problem), "{other:?}");
        // The log is that of all programs.
        let other = lagging("texts").env("RETRY_EVENTS", log).output().unwrap();
        assert_eq!(other.stdout, b"main got 4\n", "{other:?}");
        paths
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap());
        kill_process(Pid::from_child(&process), Signal::INT).unwrap();
        lines.for_each(drop);
        let text = complaints(&process.wait_with_output().unwrap());
        for (title, path) in ["event log", "trace"].iter().zip(&paths) {
            let path = path.display();
            let problem = format!(
                "the {title} {path} is not complete: it was removed while it was being written"
            );
            assert!(text.contains(&problem), "{text}");
        }
    });
}
