//! Faults of section G: the life of the parent. The numbers are those of the table in `docs/faults.md`.

use std::fs::File;
use std::io::Write;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use retry_runtime::function;
use retry_tests::{
    collect_screen, eventually, fixture, fixture_outside, open_terminal, processes_with, terminal,
};

const LIMIT: Duration = Duration::from_secs(120);

const FAULTY: &str = env!("CARGO_BIN_EXE_faulty");

#[function(max_workers = 1)]
fn own_pid() -> u32 {
    std::process::id()
}

fn serves() -> bool {
    own_pid.remote().wait().is_ok()
}

fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .collect()
}

// G3
#[retry_runtime::test]
fn a_worker_outlives_the_thread_that_first_asked_for_it() {
    fixture(LIMIT, serves, || {
        let call = || own_pid.remote().wait().unwrap();
        let first = std::thread::spawn(call).join().unwrap();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(10));
            assert_eq!(std::thread::spawn(call).join().unwrap(), first);
        }
    });
}

/// A program at a terminal of its own.
struct Terminal {
    process: std::process::Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts a program whose calls take this long each, and which lingers for this long after them.
    fn start(milliseconds: u64, linger: u64) -> Self {
        let (keyboard, path) = terminal();
        let theirs = open_terminal(&path);
        // `setsid --ctty` makes this the program's controlling terminal, with the program in the foreground.
        let process = Command::new("setsid")
            .args([
                "--ctty",
                env!("CARGO_BIN_EXE_interactive"),
                "--milliseconds",
            ])
            .arg(milliseconds.to_string())
            .args(["--linger", &linger.to_string()])
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(theirs)
            .spawn()
            .unwrap();
        Self {
            process,
            screen: collect_screen(&keyboard),
            keyboard,
        }
    }

    fn shows(&self, expected: &str) {
        eventually(expected, Duration::from_secs(20), || {
            self.screen.lock().unwrap().contains(expected)
        });
    }

    fn press_control_c(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        let text = self.screen.lock().unwrap().clone();
        (status, text)
    }
}

// G4
#[test]
fn control_c_lets_running_calls_end_and_begins_no_other() {
    fixture_outside(LIMIT, || {
        let mut terminal = Terminal::start(1000, 1000);
        terminal.shows("sleeping for 1000 ms");
        terminal.press_control_c();
        terminal.shows("Ctrl-C again to kill now");
        // The worker does not receive the signal: it sleeps to its end.
        terminal.shows("slept for 1000 ms");
        let (status, text) = terminal.end();
        assert_eq!(status.code(), Some(130), "{text}");
        // One more call may already have been sent to the worker.
        assert!(text.matches("sleeping for").count() <= 2, "{text}");
    });
}

// G4
#[test]
fn control_c_shows_in_the_exit_code_if_main_returns_at_once() {
    fixture_outside(LIMIT, || {
        let mut terminal = Terminal::start(300, 0);
        terminal.shows("sleeping for 300 ms");
        terminal.press_control_c();
        let (status, text) = terminal.end();
        assert_eq!(status.code(), Some(130), "{text}");
    });
}

// G4
#[test]
fn control_c_twice_ends_everything_at_once() {
    fixture_outside(LIMIT, || {
        let mut terminal = Terminal::start(600_000, 0);
        terminal.shows("sleeping for 600000 ms");
        let begun = Instant::now();
        terminal.press_control_c();
        terminal.shows("Ctrl-C again to kill now");
        terminal.press_control_c();
        let (status, text) = terminal.end();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(status.code(), Some(130), "{text}");
        // The fixture checks that no worker is left.
    });
}

// G5
#[test]
fn the_library_handles_no_signals_unless_it_is_told_to() {
    fixture_outside(LIMIT, || {
        let output = Command::new(FAULTY).arg("signals").output().unwrap();
        let lines = lines(&output);
        assert_eq!(lines[..2], ["5", "aborts crashed: SIGABRT (abort)"]);
        // Caught, ignored and blocked signals, before the first call and after the last one. Signals above 31
        // belong to the C library.
        let ordinary = |mask: &str| u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff;
        for line in &lines[2..] {
            let (before, after) = line.split_once(' ').unwrap();
            assert_eq!(ordinary(before), ordinary(after), "{lines:?}");
        }
        assert_eq!(lines.len(), 5);
    });
}

// G6
#[test]
fn workers_end_with_their_program_in_every_way_it_ends() {
    fixture_outside(LIMIT, || {
        for (how, code) in [("exit", Some(3)), ("abort", None), ("return", Some(0))] {
            let token = format!("of {} {how}", std::process::id());
            let status = Command::new(FAULTY)
                .arg(how)
                .env("MARK", &token)
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.code(), code, "{how}");
            eventually("nothing is left", Duration::from_secs(2), || {
                processes_with(&format!("MARK={token}")).is_empty()
            });
        }
    });
}

// G8
#[test]
fn sixty_four_threads_that_make_the_first_call_share_one_pool() {
    fixture_outside(LIMIT, || {
        for _ in 0..10 {
            let output = Command::new(FAULTY).arg("race").output().unwrap();
            assert_eq!(lines(&output), ["2016 by 1"]);
        }
    });
}

// G13
#[test]
fn a_worker_starts_in_the_surroundings_of_that_moment() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap().keep();
        let output = Command::new("sh")
            .args(["-c", "umask 022; exec \"$0\" surroundings", FAULTY])
            .current_dir(&directory)
            .output()
            .unwrap();
        let first = format!("\"0022 {}\"", directory.canonicalize().unwrap().display());
        std::fs::remove_dir(&directory).unwrap();
        assert_eq!(lines(&output), [first.as_str(), "\"0077 /\""]);
    });
}

// G15
#[test]
fn a_program_may_be_process_1_and_reaps_only_its_workers() {
    fixture_outside(LIMIT, || {
        let namespace = [
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
        ];
        let possible = Command::new("unshare").args(namespace).arg("true").status();
        if !possible.is_ok_and(|status| status.success()) {
            eprintln!("this machine does not allow a namespace of processes: not tested");
            return;
        }
        let output = Command::new("unshare")
            .args(namespace)
            .args([FAULTY, "first"])
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            lines(&output),
            [
                "process 1",
                "5",
                "aborts crashed: SIGABRT (abort)",
                "()",
                "6",
                // An init process would have reaped it; the library leaves processes alone that it did not
                // start.
                "orphans 1",
            ],
            "{complaints}"
        );
    });
}

// G17
#[test]
fn calls_work_with_an_inherited_ignored_sigchld() {
    fixture_outside(LIMIT, || {
        let ignored = |mode: &str| {
            let mut command = Command::new("env");
            let output = command
                .args(["--ignore-signal=CHLD", FAULTY, mode])
                .output();
            output.unwrap()
        };
        // The parent of the program ignored SIGCHLD; the program itself relies on the status of its children.
        let expected = ["5", "aborts crashed: SIGABRT (abort)", "6"];
        assert_eq!(lines(&ignored("echo")), expected);
        assert_eq!(lines(&ignored("commands")), ["Some(3)"]);
    });
}

// G17
#[test]
fn a_program_that_ignores_sigchld_is_told_so() {
    fixture_outside(LIMIT, || {
        let output = Command::new(FAULTY).arg("childless").output().unwrap();
        let error = "echo could not start: the worker process cannot be started: this program \
                     ignores SIGCHLD, so that the kernel does not keep how its children end; set \
                     its action back to SIG_DFL, or handle it";
        assert_eq!(lines(&output), [error]);
    });
}

// D6
#[test]
fn a_program_without_streams_has_workers_with_streams() {
    fixture_outside(LIMIT, || {
        let file = tempfile::NamedTempFile::new().unwrap();
        let status = Command::new("sh")
            .args(["-c", "exec \"$0\" streams \"$1\" 0<&- 1>&- 2>&-", FAULTY])
            .arg(file.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "4950");
    });
}
