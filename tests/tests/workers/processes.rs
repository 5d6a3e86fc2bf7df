//! Processes from the operating system's point of view: refused, replaced, and never left behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use retry_runtime::function;
use retry_tests::{eventually, fixture, fixture_outside, processes_with};

const LIMIT: Duration = Duration::from_secs(120);

const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

fn victim(mode: &str) -> Output {
    Command::new(VICTIM)
        .arg(mode)
        .env("VICTIM", mode)
        .output()
        .expect("the victim can be started")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_init_a_call_is_refused_and_no_worker_is_started() {
    fixture_outside(LIMIT, || {
        let output = victim("uninitialised");
        let text = stdout(&output);
        assert!(text.contains("#[local_entrypoint]"), "{text}");
        assert!(text.contains("retry_runtime::init()"), "{text}");
        assert!(text.contains("#[retry_runtime::test]"), "{text}");
    });
}

#[test]
fn a_worker_that_never_greets_is_an_error_in_time() {
    fixture_outside(LIMIT, || {
        let begun = Instant::now();
        let output = victim("mute");
        let text = stdout(&output);
        assert!(text.contains("startup_timeout of 400ms"), "{text}");
        assert!(text.contains("mute: stuck before init"), "{text}");
        assert!(begun.elapsed() >= Duration::from_millis(400));
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn a_corrupt_frame_costs_the_worker_and_nothing_else() {
    fixture_outside(LIMIT, || {
        for how in ["garbage", "lie"] {
            let output = victim(how);
            let text = stdout(&output);
            assert!(text.contains("broke the protocol"), "{text}");
            assert!(text.contains("Ok(5)"), "{text}");
            assert!(output.status.success());
        }
    });
}

#[test]
fn a_name_that_is_registered_twice_is_reported_with_both_places() {
    fixture_outside(LIMIT, || {
        let text = stdout(&victim("twins"));
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines[..2] {
            assert_eq!(
                line.matches("tests/src/bin/victim.rs:").count(),
                2,
                "{line}"
            );
            assert!(line.contains("#[function(name = "), "{line}");
        }
        assert_eq!(lines[2], "Ok(5)");
    });
}

#[test]
fn the_library_prints_nothing_of_its_own() {
    fixture_outside(LIMIT, || {
        let output = victim("silent");
        assert_eq!(stdout(&output), "4950\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    });
}

#[test]
fn output_comes_before_the_result_while_stdout_is_locked() {
    fixture_outside(LIMIT, || {
        let text = stdout(&victim("locked"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        for line in &lines[..10] {
            let (function, line) = line.split_once(": ").unwrap();
            // The input is included where it is known.
            assert!(
                function == "prints" || function.starts_with("prints["),
                "{text}"
            );
            assert_eq!(line, "worker");
        }
        assert_eq!(lines[10], "45");
        let raw = Command::new(VICTIM)
            .arg("locked")
            .env("VICTIM", "locked")
            .env("RETRY_OUTPUT", "raw")
            .output()
            .unwrap();
        assert_eq!(stdout(&raw), format!("{}45\n", "worker\n".repeat(10)));
    });
}

#[test]
fn the_program_may_be_deleted_while_it_runs() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        std::fs::copy(VICTIM, &copy).unwrap();
        let output = Command::new(&copy).arg("deleted").output().unwrap();
        assert_eq!(stdout(&output), "Ok(1)\nOk(2)\n");
    });
}

#[test]
fn main_may_be_tokios_of_either_flavour_and_calls_may_be_nested() {
    fixture_outside(LIMIT, || {
        for flavour in ["current", "multi"] {
            let output = Command::new(env!("CARGO_BIN_EXE_tokio_main"))
                .arg(flavour)
                .output()
                .unwrap();
            let text = stdout(&output);
            assert!(
                text.contains("[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]"),
                "{text}"
            );
            assert!(text.contains("Ok(2)"), "{text}");
            assert!(
                text.contains("calls are nested deeper than 10 levels"),
                "{text}"
            );
        }
    });
}

#[test]
fn a_killed_parent_leaves_no_worker_and_no_grandchild() {
    fixture_outside(LIMIT, || {
        let seed = std::env::var("RETRY_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| fastrand::u64(..));
        eprintln!("RETRY_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..50 {
            let name = format!("{seed}-{round}");
            let token = format!("VICTIM_TOKEN={name}");
            let mut parent = Command::new(VICTIM)
                .arg("orphans")
                .env("VICTIM_TOKEN", &name)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(parent.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            assert_eq!(line, "started\n");
            // From before the first worker exists until after the grandchildren do.
            std::thread::sleep(Duration::from_micros(random.u64(0..20_000)));
            parent.kill().unwrap();
            parent.wait().unwrap();
            eventually("nothing is left", Duration::from_secs(5), || {
                processes_with(&token).is_empty()
            });
        }
    });
}

#[function(max_calls_per_worker = 1)]
fn own_pid() -> u32 {
    std::process::id()
}

#[function]
fn reads_stdin() -> String {
    std::io::read_to_string(std::io::stdin()).unwrap()
}

#[function]
fn prints(lines: usize) -> usize {
    for line in 0..lines {
        eprintln!("line {line} {}", "x".repeat(100));
    }
    lines
}

fn serves() -> bool {
    own_pid.remote().wait().is_ok()
}

#[retry_runtime::test]
fn workers_come_and_go_and_leave_nothing() {
    fixture(LIMIT, serves, || {
        let mut pids: Vec<u32> = own_pid
            .map([(); 320])
            .into_iter()
            .map(Result::unwrap)
            .collect();
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 320, "each call had a process of its own");
    });
}

#[retry_runtime::test]
fn a_worker_reads_nothing_from_the_terminal_and_may_print_much() {
    fixture(LIMIT, serves, || {
        assert_eq!(reads_stdin.remote().wait().unwrap(), "");
        assert_eq!(prints.remote(2_000).wait().unwrap(), 2_000);
    });
}
