//! The progress display of programs with `#[local_entrypoint]`, as a terminal renders it.

use std::io::{BufRead, BufReader, Read};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_tests::{fixture_outside, open_terminal, terminal};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Winsize, tcsetwinsize};

const LIMIT: Duration = Duration::from_secs(120);

/// Returns a program that makes three calls of this length, one after the other, and prints.
fn program(milliseconds: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_interactive"));
    command
        .args(["--milliseconds", &milliseconds.to_string()])
        .args(["--linger", "0"])
        .env("TERM", "xterm")
        .env("RETRY_STATUS", "none")
        .env_remove("NO_COLOR")
        .env_remove("CI")
        .stdin(Stdio::null());
    command
}

/// Returns a program that prints while its calls are pending.
fn counting(how: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counting"));
    command
        .args(["--how", how])
        .env("TERM", "xterm")
        .env("RETRY_STATUS", "none")
        .env_remove("NO_COLOR")
        .env_remove("CI")
        .stdin(Stdio::null());
    command
}

/// The size of the terminal: as few rows as lines of a program, so that it scrolls.
const ROWS: u16 = 5;
const COLUMNS: u16 = 120;

/// The content of a terminal over time.
struct Session {
    /// The bytes that were written to it.
    text: String,
    /// The screen after each drawing of the display, as rows.
    frames: Vec<Vec<String>>,
    /// The lines at the end, preceded by those that scrolled off the top.
    lines: Vec<String>,
}

impl Session {
    /// Runs a program at a terminal.
    fn of(mut command: Command) -> Self {
        let (mut screen, path) = terminal();
        let size = Winsize {
            ws_row: ROWS,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&screen, size).unwrap();
        let theirs = open_terminal(&path);
        command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
        let mut process = command.spawn().unwrap();
        // Drop the command: only the program may hold the terminal, so that reading ends with the program.
        drop(command);
        let (mut written, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = screen.read(&mut buffer) {
            written.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8(written).unwrap();
        assert!(process.wait().unwrap().success(), "{text}");
        Self::render(text)
    }

    fn render(text: String) -> Self {
        let mut terminal = screen();
        let mut frames = Vec::new();
        // The display ends each drawing by restoring the cursor.
        for part in text.split_inclusive("\x1b8") {
            terminal.process(part.as_bytes());
            if part.ends_with("\x1b8") {
                frames.push(rows(&terminal));
            }
        }
        let mut lines = Vec::new();
        terminal.screen_mut().set_scrollback(usize::MAX);
        for above in (1..=terminal.screen().scrollback()).rev() {
            terminal.screen_mut().set_scrollback(above);
            lines.push(rows(&terminal).swap_remove(0));
        }
        terminal.screen_mut().set_scrollback(0);
        lines.extend(rows(&terminal));
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Self {
            text,
            frames,
            lines,
        }
    }

    /// Returns whether a row of a frame has all of these parts, in this order.
    fn showed(&self, parts: &[&str]) -> bool {
        let has_all = |row: &String| {
            let mut rest = row.as_str();
            parts.iter().all(|part| match rest.split_once(part) {
                Some((_, behind)) => {
                    rest = behind;
                    true
                }
                None => false,
            })
        };
        self.frames.iter().flatten().any(has_all)
    }

    #[track_caller]
    fn assert_showed(&self, parts: &[&str]) {
        assert!(self.showed(parts), "{parts:?} in {:#?}", self.frames);
    }
}

/// Runs programs at terminals of their own, at the same time.
fn sessions<const N: usize>(programs: [Command; N]) -> [Session; N] {
    std::thread::scope(|scope| {
        let run = |program| scope.spawn(|| Session::of(program));
        programs.map(run).map(|thread| thread.join().unwrap())
    })
}

/// Returns an empty terminal.
fn screen() -> vt100::Parser {
    let [rows, columns] = [ROWS, COLUMNS].map(|size| NonZero::new(size).unwrap());
    vt100::Parser::new(rows, columns, 1000)
}

/// Returns what is on the screen, without spaces at the ends of its rows.
fn rows(terminal: &vt100::Parser) -> Vec<String> {
    let rows = terminal.screen().rows(0, COLUMNS);
    rows.map(|row| row.trim_end().to_owned()).collect()
}

#[test]
fn a_terminal_shows_progress_and_it_is_removed_at_the_end() {
    fixture_outside(LIMIT, || {
        let mut program = program(1000);
        program.env("RETRY_OUTPUT", "raw");
        let session = Session::of(program);
        session.assert_showed(&["sleeps [00:00:0", "] ━", " 1/3  ", "1 running"]);
        session.assert_showed(&["sleeps [00:00:0", "] ━", " 2/3  ", "/s  eta ", "1 running"]);
        let mut shown = session.lines;
        // Two threads write the worker's lines and the program's own.
        shown.sort();
        let lines = ["sleeping for 1000 ms", "slept", "slept for 1000 ms"];
        assert_eq!(
            shown,
            lines.map(|line| [line; 3]).concat(),
            "{:?}",
            session.text
        );
    });
}

#[test]
fn output_of_the_program_is_not_mixed_with_the_display() {
    fixture_outside(LIMIT, || {
        let got = |milliseconds| format!("main got Ok({milliseconds})");
        let done = || "main is done".to_owned();
        let expected = [
            ("map", vec![got(3000), got(700), got(0), done()]),
            ("calls", vec![got(3000), got(700), done()]),
            ("get", vec!["main waits".to_owned(), done()]),
            (
                "async",
                vec![got(3000), got(700), "main got 2 results".to_owned(), done()],
            ),
            ("exit", vec!["main exits".to_owned()]),
            (
                "half a line",
                vec!["the sum is 3700, as expected".to_owned(), done()],
            ),
        ];
        let sessions = sessions(expected.each_ref().map(|(how, _)| counting(how)));
        for ((how, expected), session) in expected.into_iter().zip(sessions) {
            assert!(
                session.showed(&["naps [", "0/"]),
                "{how}: {:?}",
                session.text
            );
            let mut shown = session.lines;
            // The number of `get` timeouts depends on how long the start takes.
            shown.dedup();
            assert_eq!(shown, expected, "{how}: {:?}", session.text);
        }
    });
}

#[test]
fn the_display_is_there_again_after_each_result_and_each_line() {
    fixture_outside(LIMIT, || {
        let session = Session::of(counting("many results"));
        // 300 results, 10 ms apart: it is erased for each, and redrawn more often than every 100 ms.
        assert!(session.frames.len() > 100, "{}", session.frames.len());
        session.assert_showed(&["naps [", "/300"]);
        assert_eq!(session.lines, ["main got 300 results", "main is done"]);
    });
}

#[test]
fn what_the_workers_wait_for_is_shown() {
    fixture_outside(LIMIT, || {
        let ways = ["slow inputs", "in order", "retries", "slow start"];
        let [inputs, order, retries, start] = sessions(ways.map(counting));
        inputs.assert_showed(&["waiting for the iterator of inputs"]);
        order.assert_showed(&[
            "waiting for [0], the next result in order; running [0] ",
            "s",
        ]);
        retries.assert_showed(&["waiting for a retry in ", "s"]);
        start.assert_showed(&["workers are starting"]);
    });
}

#[test]
fn a_program_that_leaves_its_workers_idle_is_told_so() {
    fixture_outside(LIMIT, || {
        let mut command = counting("slow consumer");
        command.env("RETRY_STATUS", "fail");
        let output = command.output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        for part in [
            "note: the workers of naps are idle for ",
            "% of the time, waiting for the program to take results\n",
        ] {
            assert!(complaints.contains(part), "{part}: {complaints}");
        }
        let summary = complaints.split_once("Summary [").unwrap().1;
        assert!(
            summary.contains("waiting for the program to take results "),
            "{complaints}"
        );
    });
}

#[test]
fn other_threads_print_while_the_display_is_suspended_or_hidden() {
    fixture_outside(LIMIT, || {
        let session = Session::of(counting("other threads"));
        session.assert_showed(&["naps [", "0/1"]);
        let lines = ["thread 0", "thread 1", "thread 2", "hidden", "main is done"];
        assert_eq!(session.lines, lines, "{:?}", session.text);
        // It is back while the lines are on the screen.
        let is_back = |frame: &Vec<String>| {
            frame.iter().any(|row| row == "thread 0")
                && frame.iter().any(|row| row.starts_with("naps ["))
        };
        assert!(session.frames.iter().any(is_back), "{:#?}", session.frames);
    });
}

/// They ask the user something, or make calls whose workers print.
#[test]
fn closures_that_suspend_the_display_may_take_their_time() {
    fixture_outside(LIMIT, || {
        let ways = ["closures", "closures below an adopted display"];
        for Session { text, .. } in sessions(ways.map(counting)) {
            // Nothing is drawn between the lines of the closure.
            let inside = "inside\r\nnaps_and_prints[0]: printing\r\ncalled [100]\r\nasks\r\n";
            assert!(text.contains(inside), "{text:?}");
            let (before, after) = text.split_once(inside).unwrap();
            assert!(
                before.contains("naps [") && after.contains("naps ["),
                "{text:?}"
            );
            assert!(after.contains("waited Some(2500)\r\n"), "{text:?}");
        }
    });
}

#[test]
fn a_closure_that_suspends_the_display_does_not_outlive_a_second_signal() {
    fixture_outside(LIMIT, || {
        let (mut screen, path) = terminal();
        let theirs = open_terminal(&path);
        let mut command = counting("asks for ever");
        command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
        let mut process = command.spawn().unwrap();
        drop(command);
        let mut text = String::new();
        let mut read = |until: &str| {
            let mut buffer = [0; 4096];
            while !text.contains(until)
                && let Ok(read @ 1..) = screen.read(&mut buffer)
            {
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            assert!(text.contains(until), "{text:?}");
        };
        read("asks");
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::INT).unwrap();
        read("cancelling: 1 running");
        kill_process(pid, Signal::INT).unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(130));
    });
}

#[test]
fn the_bars_of_a_program_take_the_progress_in() {
    fixture_outside(LIMIT, || {
        let session = Session::of(counting("adopted"));
        // That display does not save the cursor: look at the screen before each movement.
        let mut terminal = screen();
        let mut together = false;
        for part in session.text.split_inclusive('\x1b') {
            terminal.process(part.as_bytes());
            let rows = rows(&terminal);
            together |= rows.iter().any(|row| row.starts_with("own bar"))
                && rows.iter().any(|row| row.starts_with("naps_and_prints ["));
        }
        assert!(together, "{:?}", session.text);
        let lines = [
            "naps_and_prints[0]: printing",
            "main got 3000",
            "main is done",
        ];
        assert_eq!(session.lines, lines, "{:?}", session.text);
    });
}

#[test]
fn the_total_is_that_of_the_map_and_of_no_map_before_it() {
    fixture_outside(LIMIT, || {
        let ways = ["large map", "unknown size", "two maps"];
        let [large, unknown, two] = sessions(ways.map(counting));
        large.assert_showed(&["naps [", " 0/6,000  1 running"]);
        unknown.assert_showed(&["naps [", "] 0/?  1 running"]);
        two.assert_showed(&["naps [", " 0/5  1 running"]);
        two.assert_showed(&["naps [", " 0/3  1 running"]);
        assert!(!two.text.contains("/8"), "{:?}", two.text);
    });
}

#[test]
fn an_interrupted_program_counts_the_executing_calls_as_running() {
    fixture_outside(LIMIT, || {
        let complaints = interrupt("interrupted", "40", "38");
        assert!(complaints.starts_with("cancelling: "), "{complaints}");
        // Most inputs of this one have not been taken from the iterator.
        let complaints = interrupt("interrupted large map", "6000", "5,998");
        let summary = "0 of 6,000 calls ok, 6,000 cancelled";
        assert!(complaints.contains(summary), "{complaints}");
    });
}

/// Interrupts a program while two of its calls are executing. Returns what it says to that.
fn interrupt(how: &str, inputs: &str, not_started: &str) -> String {
    let mut command = counting(how);
    command
        .env("RETRY_SHUTDOWN_GRACE", "1500ms")
        .env("RETRY_STATUS", "fail")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let begun = lines.by_ref().filter(|line| line.contains("sleeping"));
    assert_eq!(begun.take(2).count(), 2);
    let pid = Pid::from_child(&process);
    kill_process(pid, Signal::INT).unwrap();
    // All output of the program is read.
    let results = format!("main got {inputs} results");
    assert!(lines.any(|line| line == results));
    lines.for_each(drop);
    let output = process.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    let cancelling = format!("cancelling: 2 running (1.5s to end), {not_started} not started");
    assert!(complaints.contains(&cancelling), "{complaints}");
    assert!(!complaints.contains("failed"), "{complaints}");
    complaints
}

#[test]
fn no_display_in_short_runs_on_simple_terminals_or_if_unwanted() {
    fixture_outside(LIMIT, || {
        let with = |variable, value| {
            let mut command = program(500);
            command.env(variable, value);
            command
        };
        // By itself, so that it is short.
        let [short] = sessions([program(50)]);
        let others = sessions([
            with("TERM", "dumb"),
            with("NO_COLOR", "1"),
            with("CI", "true"),
            with("RETRY_PROGRESS", "lines"),
            with("RETRY_PROGRESS", "none"),
        ]);
        for Session { text, .. } in others.into_iter().chain([short]) {
            assert_eq!(text.matches("slept for").count(), 3);
            assert!(!text.contains('\x1b') && !text.contains("/3"), "{text:?}");
        }
    });
}

#[test]
fn without_a_terminal_there_is_a_line_every_ten_seconds() {
    fixture_outside(LIMIT, || {
        let output = program(4000).output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert!(complaints.starts_with("sleeps 2/3  0."), "{complaints}");
        assert!(complaints.contains("/s  eta "), "{complaints}");
        assert!(complaints.ends_with("s  1 running\n"), "{complaints}");
        assert_eq!(complaints.lines().count(), 1, "{complaints}");
        assert_eq!(
            output.stdout.iter().filter(|byte| **byte == b'\n').count(),
            9
        );
    });
}

#[test]
fn a_mode_that_does_not_exist_is_refused() {
    fixture_outside(LIMIT, || {
        let output = program(1).env("RETRY_PROGRESS", "bar").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let expected = "error: RETRY_PROGRESS=\"bar\" must be auto, lines or none\n";
        assert_eq!(text, expected);
        assert_eq!(output.status.code(), Some(2));
    });
}
