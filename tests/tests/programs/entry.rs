//! The ways into a program: `run`, the options of `#[local_entrypoint]`, and `#[on_start]`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retry_runtime::{function, on_start};
use retry_tests::{fixture, fixture_outside};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(120);

/// Returns the program that does one thing with `run`.
fn entering(action: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entering"));
    // To print a backtrace may take longer than the calls that a test waits for.
    command.env("RUST_BACKTRACE", "0");
    command.arg(action).stdin(Stdio::null());
    command
}

/// The end of a program.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn run_returns_the_value_of_its_closure() {
    fixture_outside(LIMIT, || {
        let ended = run(entering("succeed"));
        assert_eq!(ended.out, "Ok([2, 4, 6])\n");
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));

        let ended = run(entering("fail"));
        assert_eq!((ended.code, ended.err.as_str()), (Some(3), "no luck\n"));
    });
}

#[test]
fn the_exit_code_for_failed_calls_comes_at_the_end_of_main() {
    fixture_outside(LIMIT, || {
        for (action, code) in [("fails", 100), ("succeed", 0), ("fail", 3), ("panic", 101)] {
            let mut command = entering(action);
            command.env("RETRY_FAIL_ON", "failed");
            let ended = run(command);
            assert_eq!(ended.code, Some(code), "{action}: {}", ended.err);
            let is_told = ended
                .err
                .contains("error: 1 call failed and 0 succeeded after");
            assert_eq!(is_told, action == "fails", "{}", ended.err);
            if action == "fails" {
                assert_eq!(ended.out, "true\nrun has returned\n");
            }
        }
    });
}

#[test]
fn run_waits_for_spawned_calls_and_warns_about_variables() {
    fixture_outside(LIMIT, || {
        let mut command = entering("spawn");
        command.env("RETRY_TIMEOUTS", "1s");
        let ended = run(command);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.ends_with("napped\n"), "{}", ended.out);
        let expected = "warning: RETRY_TIMEOUTS is unknown; did you mean RETRY_TIMEOUT?\n\
                        waiting for 1 spawned call, at most 10s; Ctrl-C twice to abandon it\n";
        assert_eq!(ended.err, expected);
    });
}

#[test]
fn a_panic_inside_of_run_ends_the_program_in_order() {
    fixture_outside(LIMIT, || {
        let ended = run(entering("panic"));
        assert_eq!(ended.code, Some(101));
        assert!(ended.out.ends_with("napped\n"), "{}", ended.out);
        let (panic, rest) = ended.err.split_once("waiting for 1 spawned call").unwrap();
        assert!(
            panic.contains("entering.rs") && panic.contains("no luck"),
            "{panic}"
        );
        assert!(!rest.contains("no luck"), "the panic is printed once");
    });
}

/// Interrupts a program once a call of it is running. Returns what it has printed on standard error.
fn interrupted(mut command: Command) -> String {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().ends_with("napping"));
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    let output = process.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    err
}

#[test]
fn a_signal_ends_a_run_in_order() {
    fixture_outside(LIMIT, || {
        let mut command = entering("interrupted");
        command.env("RETRY_SHUTDOWN_GRACE", "0s");
        let err = interrupted(command);
        assert!(err.starts_with("cancelling: 1 running"), "{err}");
    });
}

#[test]
fn a_signal_during_the_wait_for_spawned_calls_decides_the_exit_code() {
    fixture_outside(LIMIT, || {
        let err = interrupted(entering("spawn"));
        let (waiting, cancelling) = err.split_once('\n').unwrap();
        assert!(waiting.starts_with("waiting for 1 spawned call"), "{err}");
        assert!(cancelling.starts_with("cancelling: 1 running"), "{err}");
    });
}

#[test]
fn lines_about_calls_come_before_the_panic_that_follows_from_them() {
    fixture_outside(LIMIT, || {
        for _ in 0..20 {
            let ended = run(entering("unwrap"));
            assert_eq!(ended.code, Some(101), "{}", ended.err);
            let (lines, report) = ended.err.split_once("\nthread 'main'").unwrap();
            assert!(lines.contains("FAILED ["), "{lines}");
            let (report, _) = report.split_once("Summary [").unwrap();
            assert!(report.contains("called `Result::unwrap()`"), "{report}");
            assert!(!report.contains("FAILED ["), "{report}");
        }
    });
}

#[test]
fn an_inner_run_only_runs_its_closure() {
    fixture_outside(LIMIT, || {
        let ended = run(entering("nested"));
        assert_eq!(ended.out, "Ok(2) Ok(4)\nOk(6)\n");
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));

        let ended = run(entering("worker"));
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "Ok(6)\n"));
    });
}

#[test]
fn run_where_it_cannot_work_says_what_to_do() {
    fixture_outside(LIMIT, || {
        for (action, text) in [
            ("no init", "call `init()` in the first line of `main`"),
            ("twice", "call it once, with all calls of the program"),
            ("late settings", "give them to the outer one"),
            ("late runtime", "begin the program before its first call"),
            (
                "async in tokio",
                "make `main` a plain `fn` without #[tokio::main]",
            ),
        ] {
            let ended = run(entering(action));
            assert_eq!(ended.code, Some(101), "{action}: {}", ended.err);
            assert!(!ended.out.contains("not reached"), "{action}");
            assert!(ended.err.contains(text), "{action}: {}", ended.err);
            // The panic names the line of the caller.
            assert!(ended.err.contains("entering.rs"), "{action}: {}", ended.err);
        }
    });
}

#[test]
fn a_future_runs_on_tokio() {
    fixture_outside(LIMIT, || {
        let ended = run(entering("async"));
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.contains("\nnaps: napped\n"), "{}", ended.out);
        assert!(ended.out.ends_with("40\n"), "{}", ended.out);
    });
}

#[test]
fn settings_in_code_override_those_of_the_environment() {
    fixture_outside(LIMIT, || {
        let mut command = entering("settings");
        command
            .env("RETRY_OUTPUT", "none")
            .env("RETRY_SPIN", "1")
            .env("RETRY_SHUTDOWN_GRACE", "1h");
        let ended = run(command);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let expected = "a line\nOk(Some(\"hello\"))\na line\nOk(Some(\"0\"))\n";
        assert!(ended.out.starts_with(expected), "{}", ended.out);
        assert!(ended.err.contains("at most 0ns"), "{}", ended.err);
        assert!(ended.err.contains("abandoned naps"), "{}", ended.err);
    });
}

/// Returns the program with options of several kinds.
fn commands(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commands"));
    command.args(arguments).stdin(Stdio::null());
    run(command)
}

#[test]
fn options_and_subcommands_of_a_type_are_those_of_main() {
    fixture_outside(LIMIT, || {
        assert_eq!(commands(&[]).out, "localhost false\n");
        let ended = commands(&["--verbose", "--host", "there", "double", "21"]);
        assert_eq!(ended.out, "there true\nOk(42)\n");
        let help = commands(&["--help"]).out;
        for text in [
            "Shows what a program can do",
            "The host to connect to",
            "Doubles a number",
            "Says more",
        ] {
            assert!(help.contains(text), "{text}: {help}");
        }
        assert_eq!(commands(&["triple", "21"]).code, Some(2));
    });
}

/// Returns what the program with options of unusual names prints.
fn options(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_options"));
    command.args(arguments).stdin(Stdio::null());
    run(command)
}

#[test]
fn options_have_the_names_and_values_of_their_parameters() {
    fixture_outside(LIMIT, || {
        let names = "mine, mine as well\n";
        let none = format!("{names}None None None false [] None false\n");
        assert_eq!(options(&[]).out, none);
        let given = "--trace a --type b --version 3 -m --bytes 12 --bytes 13 --limit 4 --help";
        let given: Vec<&str> = given.split(' ').collect();
        let all = r#"Some("a") Some("b") Some(3) true [12, 13] Some(4) true"#;
        assert_eq!(options(&given).out, format!("{names}{all}\n"));
        let wrong = options(&["--more-output"]);
        assert_eq!(wrong.code, Some(2));
        assert!(wrong.err.contains("--type <TYPE>"), "{}", wrong.err);
    });
}

/// Returns the program with `#[on_start]` functions, and the lines that its processes have noted.
fn starting(environment: &[(&str, &str)]) -> (Ended, Vec<(String, String)>) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_starting"));
    command
        .args(["--help", "me"])
        .env("LOG", &log)
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let ended = run(command);
    let lines = std::fs::read_to_string(log).unwrap();
    let lines = lines.lines().map(|line| line.split_once(' ').unwrap());
    let lines = lines.map(|(pid, what)| (pid.to_owned(), what.to_owned()));
    (ended, lines.collect())
}

/// Returns the notes of each process, in the order in which the processes began.
fn by_process(lines: &[(String, String)]) -> Vec<Vec<&str>> {
    let mut pids: Vec<&str> = Vec::new();
    for (pid, _) in lines {
        if !pids.contains(&pid.as_str()) {
            pids.push(pid);
        }
    }
    let of = |pid| lines.iter().filter(move |(of, _)| of == pid);
    pids.into_iter()
        .map(|pid| of(pid).map(|(_, what)| what.as_str()).collect())
        .collect()
}

const BEFORE: &str = "[\"--help\", \"me\"]\n";

#[test]
fn start_functions_run_once_in_each_process_by_name_before_set_up() {
    fixture_outside(LIMIT, || {
        let (ended, lines) = starting(&[]);
        // A `main` without parameters reads its command line itself.
        assert_eq!(ended.out, format!("{BEFORE}2\n4\n"));
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        let program = vec!["first", "second", "third"];
        let worker = vec!["first", "second", "third", "set-up"];
        assert_eq!(by_process(&lines), [program, worker.clone()]);

        let (ended, lines) = starting(&[("RETRY_ENGINE", "inline")]);
        assert_eq!(ended.out, format!("{BEFORE}2\n4\n"));
        assert_eq!(by_process(&lines), [worker]);
    });
}

#[test]
fn a_start_function_that_fails_in_a_worker_fails_its_calls() {
    fixture_outside(LIMIT, || {
        for (way, text) in [
            ("worker error", "failed: no such directory"),
            ("worker panic", "panicked: no such directory"),
        ] {
            let (ended, lines) = starting(&[("FAIL", way)]);
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            let text =
                format!("setup failed: the on_start function starting::second::logging {text}");
            assert_eq!(ended.out.matches(&text).count(), 2, "{}", ended.out);
            assert_eq!(ended.out.matches(" true\n").count(), 2, "{}", ended.out);
            assert!(lines.iter().all(|(_, what)| what != "set-up"));
            let third = lines.iter().filter(|(_, what)| what == "third");
            assert_eq!(third.count(), 1, "{lines:?}");
        }
    });
}

#[test]
fn a_start_function_that_fails_in_the_program_ends_it() {
    fixture_outside(LIMIT, || {
        for (way, text) in [
            ("program error", "failed: no such directory\n"),
            ("program panic", "panicked: no such directory\n"),
        ] {
            let (ended, lines) = starting(&[("FAIL", way)]);
            assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
            let text = format!("error: the on_start function starting::second::logging {text}");
            assert!(ended.err.contains(&text), "{}", ended.err);
            assert_eq!(by_process(&lines), [["first", "second"]]);
        }
    });
}

static STARTED: AtomicU32 = AtomicU32::new(0);

#[on_start]
fn counts() {
    STARTED.fetch_add(1, Ordering::Relaxed);
}

#[function]
fn started() -> u32 {
    STARTED.load(Ordering::Relaxed)
}

fn serves() -> bool {
    started.remote().wait().is_ok()
}

#[retry_runtime::test]
fn start_functions_run_once_in_a_test_and_its_workers() {
    fixture(LIMIT, serves, || {
        assert_eq!(started(), 1);
        assert_eq!(started.remote().wait().unwrap(), 1);
        // The test harness owns the process, so this runs the closure alone, and may be repeated.
        for _ in 0..2 {
            assert_eq!(retry_runtime::run(|| started.remote().wait().unwrap()), 1);
        }
    });
}
