//! The progress display of programs with `#[local_entrypoint]`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_tests::fixture_outside;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

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
        .stdin(Stdio::null());
    command
}

/// Runs a program at a terminal and returns everything that it writes there.
fn at_a_terminal(mut command: Command) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    command.stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut process = command.spawn().unwrap();
    // Drop the command: only the program may hold the terminal, so that reading ends with the program.
    drop(command);
    let (mut master, mut written) = (File::from(master), Vec::new());
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        written.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8(written).unwrap();
    assert!(process.wait().unwrap().success(), "{text}");
    text
}

/// A terminal of a few rows, with the features that the display uses.
struct Screen {
    scrolled: Vec<String>,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    saved: (usize, usize),
}

impl Screen {
    const ROWS: usize = 4;

    /// Returns the final lines of the screen, preceded by the lines that scrolled off the top.
    fn after(text: &str) -> Vec<String> {
        let mut screen = Self {
            scrolled: Vec::new(),
            rows: vec![Vec::new(); Self::ROWS],
            row: 0,
            column: 0,
            saved: (0, 0),
        };
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\r' => screen.column = 0,
                '\n' => screen.down(),
                '\x1b' => screen.obey(&mut letters),
                letter => {
                    let row = &mut screen.rows[screen.row];
                    row.resize(row.len().max(screen.column + 1), ' ');
                    row[screen.column] = letter;
                    screen.column += 1;
                }
            }
        }
        let rows = screen.rows.iter().map(|row| row.iter().collect());
        let mut lines: Vec<String> = screen.scrolled.into_iter().chain(rows).collect();
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        lines
    }

    fn obey(&mut self, letters: &mut impl Iterator<Item = char>) {
        match letters.next() {
            Some('D') => self.down(),
            Some('7') => self.saved = (self.row, self.column),
            Some('8') => (self.row, self.column) = self.saved,
            Some('[') => match letters.next() {
                Some('A') => self.row = self.row.saturating_sub(1),
                Some('B') => self.row = (self.row + 1).min(Self::ROWS - 1),
                Some('J') => {
                    self.rows[self.row].truncate(self.column);
                    for row in &mut self.rows[self.row + 1..] {
                        row.clear();
                    }
                }
                other => panic!("not known here: {other:?}"),
            },
            other => panic!("not known here: {other:?}"),
        }
    }

    fn down(&mut self) {
        if self.row + 1 == Self::ROWS {
            self.scrolled
                .push(self.rows.remove(0).into_iter().collect());
            self.rows.push(Vec::new());
        } else {
            self.row += 1;
        }
    }
}

#[test]
fn a_terminal_shows_progress_and_it_is_removed_at_the_end() {
    fixture_outside(LIMIT, || {
        let mut program = program(700);
        program.env("RETRY_OUTPUT", "raw");
        let text = at_a_terminal(program);
        assert!(text.contains("sleeps 1/3  1 running"), "{text:?}");
        assert!(text.contains("sleeps 2/3  1 running"), "{text:?}");
        let mut shown = Screen::after(&text);
        // Two threads write the worker's lines and the program's own.
        shown.sort();
        let lines = ["sleeping for 700 ms", "slept", "slept for 700 ms"];
        assert_eq!(shown, lines.map(|line| [line; 3]).concat(), "{text:?}");
    });
}

#[test]
fn output_of_the_program_is_not_mixed_with_the_line() {
    fixture_outside(LIMIT, || {
        let got = |milliseconds| format!("main got Ok({milliseconds})");
        let done = || "main is done".to_owned();
        for (how, expected) in [
            ("map", vec![got(3000), got(700), got(0), done()]),
            ("calls", vec![got(3000), got(700), done()]),
            ("get", vec!["main waits".to_owned(), done()]),
            (
                "async",
                vec![got(3000), got(700), "main got 2 results".to_owned(), done()],
            ),
            ("exit", vec!["main exits".to_owned()]),
        ] {
            let text = at_a_terminal(counting(how));
            assert!(text.contains("naps 0/"), "{how}: no line in {text:?}");
            let mut shown = Screen::after(&text);
            // The number of `get` timeouts depends on how long the start takes.
            shown.dedup();
            assert_eq!(shown, expected, "{how}: {text:?}");
        }
    });
}

#[test]
fn the_total_is_that_of_the_map_and_of_no_map_before_it() {
    fixture_outside(LIMIT, || {
        let text = at_a_terminal(counting("large map"));
        assert!(text.contains("naps 0/6,000  1 running"), "{text:?}");

        let text = at_a_terminal(counting("unknown size"));
        assert!(text.contains("naps 0  1 running"), "{text:?}");
        assert!(!text.contains("naps 0/"), "{text:?}");

        let text = at_a_terminal(counting("two maps"));
        let second = text.split_once("main got 5").unwrap().1;
        assert!(text.contains("naps 0/5  1 running"), "{text:?}");
        assert!(second.contains("naps 0/3  1 running"), "{text:?}");
        assert!(!second.contains("/8"), "{text:?}");
    });
}

#[test]
fn an_interrupted_program_counts_the_executing_calls_as_running() {
    fixture_outside(LIMIT, || {
        let mut command = counting("interrupted");
        command
            .env("RETRY_SHUTDOWN_GRACE", "1500ms")
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
        assert!(lines.any(|line| line == "main got 40 results"));
        lines.for_each(drop);
        let output = process.wait_with_output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        let line = complaints.lines().next().unwrap_or_default();
        assert!(
            line.starts_with("cancelling: 2 running") && line.contains("38 not started"),
            "{complaints}"
        );
        assert!(!complaints.contains("failed"), "{complaints}");
    });
}

#[test]
fn no_progress_in_short_runs_on_simple_terminals_or_if_unwanted() {
    fixture_outside(LIMIT, || {
        let mut simple = program(500);
        simple.env("TERM", "dumb");
        let mut unwanted = program(500);
        unwanted.env("RETRY_PROGRESS", "none");
        for command in [program(50), simple, unwanted] {
            let text = at_a_terminal(command);
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
        assert_eq!(complaints, "sleeps 2/3  1 running  0.2/s\n");
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
