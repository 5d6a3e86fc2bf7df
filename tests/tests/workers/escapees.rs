//! Processes that leave the group of the worker whose function has started them.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use retry_runtime::{CallError, Retries, Runtime, function};
use retry_tests::{descendants, eventually, fixture, fixture_outside, kill_child, workers};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// Long enough for any event that occurs at all.
const SOON: Duration = Duration::from_secs(20);

#[function(max_workers = 1)]
fn echo(value: u64) -> u64 {
    value
}

fn serves() -> bool {
    echo.remote(1).wait().is_ok_and(|value| value == 1)
}

/// Ways out of a worker's group: a session, a daemon, and a process that keeps starting others.
const SESSION: &str = "setsid sleep 600 & wait";
const DAEMON: &str = "(setsid sh -c 'sleep 600 & exec sleep 600' &) </dev/null >/dev/null 2>&1";
const BREEDER: &str =
    "(setsid sh -c 'while true; do setsid sleep 600 & sleep 0.02; done' &) >/dev/null 2>&1";

/// Returns the number of descendants of this process that run `sleep`.
fn asleep() -> usize {
    let descendants = descendants();
    let asleep = descendants
        .iter()
        .filter(|process| process.name == "sleep" && !process.is_zombie());
    asleep.count()
}

/// Waits until a function has started a process.
fn eventually_asleep() {
    eventually("something has started", SOON, || asleep() > 0);
}

fn eventually_none() {
    eventually("nothing is left", SOON, || asleep() == 0);
}

fn run(script: &str) {
    Command::new("sh").args(["-c", script]).status().unwrap();
}

/// Runs a script and then acts as told by `then`.
#[function(max_workers = 1, retries = Retries::none(), at_most_once)]
fn starts(script: String, then: String) -> u32 {
    run(&script);
    match then.as_str() {
        "hang" => std::thread::sleep(Duration::from_secs(600)),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        _ => {}
    }
    std::process::id()
}

fn call(script: &str, then: &str) -> retry_runtime::Call<u32, std::convert::Infallible> {
    starts.remote(script.to_owned(), then.to_owned())
}

#[retry_runtime::test]
fn a_timeout_reaches_sessions_and_daemons() {
    fixture(LIMIT, serves, || {
        for script in [SESSION, DAEMON, BREEDER] {
            let error = call(script, "hang")
                .timeout(Duration::from_millis(500))
                .wait()
                .unwrap_err();
            assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
            eventually_none();
        }
    });
}

#[retry_runtime::test]
fn a_cancelled_call_leaves_no_session() {
    fixture(LIMIT, serves, || {
        let call = starts.spawn(SESSION.to_owned(), "hang".to_owned());
        eventually_asleep();
        call.cancel();
        assert!(call.wait().is_err());
        eventually_none();
    });
}

#[retry_runtime::test]
fn a_crash_leaves_no_daemon() {
    fixture(LIMIT, serves, || {
        for then in ["abort", "exit"] {
            let error = call(DAEMON, then).wait().unwrap_err();
            assert!(matches!(error, CallError::Crashed(..)), "{error:?}");
            eventually_none();
        }
        // The worker is killed from outside.
        let worker = call(DAEMON, "").wait().unwrap();
        eventually_asleep();
        assert!(kill_child(worker));
        eventually_none();
    });
}

#[retry_runtime::test]
fn a_daemon_lives_as_long_as_its_worker() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().max_workers(1).build().unwrap();
        let start = || {
            let on = starts.on(&runtime);
            on.remote(DAEMON.to_owned(), String::new()).wait().unwrap()
        };
        let worker = start();
        eventually_asleep();
        assert_eq!(start(), worker);
        assert!(asleep() > 0);
        // The shutdown of the runtime waits until they are gone.
        assert_eq!(runtime.shutdown(Duration::from_secs(30)).wait(), []);
        assert_eq!(asleep(), 0);
    });
}

fn set_up_that_starts() -> Result<(), String> {
    run(DAEMON);
    Err("not today".to_owned())
}

#[function(max_workers = 1, setup = set_up_that_starts)]
fn never_ready(_state: &()) {}

#[retry_runtime::test]
fn a_set_up_that_fails_leaves_no_daemon() {
    fixture(LIMIT, serves, || {
        let error = never_ready.remote().wait().unwrap_err();
        assert!(matches!(error, CallError::Startup(..)), "{error:?}");
        eventually_none();
    });
}

#[retry_runtime::test]
fn a_clean_environment_does_not_hide_a_child() {
    fixture(LIMIT, serves, || {
        let script = "env -i setsid sleep 600 & wait";
        let call = call(script, "hang").timeout(Duration::from_millis(500));
        assert!(call.wait().is_err());
        eventually_none();
    });
}

#[function(max_workers = 1, memory = "500MiB", at_most_once)]
fn starts_in_a_group() {
    run("(env -i setsid sleep 600 &) </dev/null >/dev/null 2>&1");
    std::process::abort();
}

#[retry_runtime::test]
fn nothing_leaves_a_control_group() {
    fixture(LIMIT, serves, || {
        assert!(starts_in_a_group.remote().wait().is_err());
        if asleep() > 0 && !has_cgroups() {
            // Nothing identifies the worker that the process belongs to, so the test has to kill it.
            let left = descendants();
            let left = left.iter().filter(|process| process.name == "sleep");
            left.for_each(|process| assert!(kill_child(process.pid)));
        }
        eventually_none();
    });
}

/// Returns whether workers can have control groups on this machine.
fn has_cgroups() -> bool {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let memory = groups.lines().find_map(|line| line.split_once(":memory:"));
    let Some((_, path)) = memory else {
        return false;
    };
    let directory = format!("/sys/fs/cgroup/memory{path}/test-{}", std::process::id());
    std::fs::create_dir(&directory).is_ok() && std::fs::remove_dir(&directory).is_ok()
}

#[retry_runtime::test]
fn other_workers_are_left_alone() {
    fixture(LIMIT, serves, || {
        let echoes = echo.map(0..1000).into_iter();
        let before = workers();
        for _ in 0..3 {
            assert!(call(DAEMON, "abort").wait().is_err());
        }
        assert!(echoes.map(Result::unwrap).eq(0..1000));
        eventually_none();
        let after = workers();
        assert!(before.iter().all(|worker| after.contains(worker)));
    });
}

fn program(what: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_escaping"))
        .arg(format!("--what={what}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_parent_leaves_no_daemon() {
    fixture_outside(LIMIT, || {
        for what in ["stays", "crashes-and-stays"] {
            let mut parent = program(what);
            let stdout = BufReader::new(parent.stdout.take().unwrap());
            assert!(stdout.lines().next().unwrap().is_ok());
            eventually_asleep();
            let pid = i32::try_from(parent.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.unwrap(), Signal::KILL).unwrap();
            parent.wait().unwrap();
            eventually_none();
        }
    });
}

#[test]
fn a_killed_parent_leaves_no_daemon_of_a_worker_behind_a_script() {
    fixture_outside(LIMIT, || {
        let directory = TempDir::new().unwrap();
        let wrapper = directory.path().join("wrapper");
        // The shell stays, and leads the group.
        let script = format!("#!/bin/sh\n{}\nexit $?\n", env!("CARGO_BIN_EXE_escaping"));
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
        let mut parent = Command::new(env!("CARGO_BIN_EXE_escaping"))
            .arg("--what=stays-behind-a-script")
            .env("WRAPPER", wrapper)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(parent.stdout.take().unwrap());
        assert!(stdout.lines().next().unwrap().is_ok());
        eventually_asleep();
        parent.kill().unwrap();
        parent.wait().unwrap();
        eventually_none();
    });
}

#[test]
fn the_end_of_a_program_leaves_no_daemon() {
    fixture_outside(LIMIT, || {
        for what in ["returns", "exits"] {
            let output = program(what).wait_with_output().unwrap();
            assert!(output.status.success());
            eventually_none();
        }
    });
}

// A parent that has changed its user ID may not kill its workers.
#[test]
fn a_parent_without_rights_stops_its_workers() {
    fixture_outside(LIMIT, || {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let output = program("loses-rights").wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{stdout}");
        assert!(stdout.contains("timed out and gone"), "{stdout}");
        eventually_none();
    });
}

#[test]
fn a_process_that_could_not_be_killed_is_reported() {
    fixture_outside(LIMIT, || {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let output = program("cannot-kill").wait_with_output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stdout}{stderr}");
        assert!(stdout.contains("left"), "{stdout}{stderr}");
        assert!(stderr.contains("outlives its worker"), "{stderr}");
        // This process may kill them.
        let left = descendants();
        let left = left.iter().filter(|process| process.name == "sleep");
        left.for_each(|process| assert!(kill_child(process.pid)));
        eventually_none();
    });
}
