//! A program to be suspended at a terminal. Its functions wait for files, which the test creates.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, Retries, Runtime, function, local_entrypoint};

/// The time between looks for a file.
const LOOK: Duration = Duration::from_millis(10);

/// Returns the path of a file that the test creates or reads.
fn file(name: &str) -> PathBuf {
    Path::new(&std::env::var_os("FILES").expect("the test sets it")).join(name)
}

/// Reports that something is under way, and waits until the test lets it end.
fn stay(what: &str, round: u32) {
    println!("begun {what} {round}");
    while !file(&round.to_string()).exists() {
        std::thread::sleep(LOOK);
    }
}

#[function(max_workers = 2, timeout = "5s")]
fn works(round: u32) -> u32 {
    stay("works", round);
    std::process::id()
}

#[function(max_workers = 1)]
fn waits(round: u32) {
    stay("waits", round);
}

#[function(max_workers = 1, timeout = "5s")]
fn fails(round: u32) -> Result<(), String> {
    stay("fails", round);
    Err("as expected".to_owned())
}

#[function(max_workers = 1, deadline = "5s")]
fn has_a_deadline(round: u32) {
    stay("has_a_deadline", round);
}

#[function(max_workers = 1, concurrency = 2, timeout = "5s")]
async fn awaits(round: u32) {
    println!("begun awaits {round}");
    while !file(&round.to_string()).exists() {
        tokio::time::sleep(LOOK).await;
    }
}

#[function(max_workers = 1, timeout = "5s", batch(max_size = 2, max_wait = "10s"))]
fn gathers(rounds: Vec<u32>) -> Vec<u32> {
    stay("gathers", rounds[0]);
    rounds
}

/// The set-up that waits is that of the first round.
fn set_up() {
    stay("set_up", 1);
}

#[function(max_workers = 1, setup = set_up, startup_timeout = "5s")]
fn is_set_up(_state: &(), round: u32) {
    stay("is_set_up", round);
}

/// Returns the time on the monotonic clock, which all processes share.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.try_into().expect("a positive time")
}

#[function(max_workers = 1, retries = Retries::fixed(1, Duration::from_secs(1)))]
fn fails_once() -> Result<Duration, String> {
    if !file("failed").exists() {
        std::fs::write(file("failed"), now().as_nanos().to_string()).expect("a writable directory");
        println!("begun fails_once 1");
        return Err("the first attempt".to_owned());
    }
    Ok(now())
}

/// Makes calls that all wait, twice, and checks that none has reached its limit.
fn keep_limits() {
    let runtime = Runtime::builder()
        .max_workers(1)
        .build()
        .expect("a runtime");
    let delayed = fails_once.spawn();
    for round in 1..=2 {
        let before = Instant::now();
        let failing = fails.spawn(round);
        let calls = [
            works.spawn(round),
            works.spawn(round),
            works.on(&runtime).spawn(round),
        ];
        let others = [
            has_a_deadline.spawn(round),
            awaits.spawn(round),
            awaits.spawn(round),
            is_set_up.spawn(round),
        ];
        let batch = [gathers.spawn(round), gathers.spawn(round)];
        // A worker in its set-up does not delay the others.
        for call in others {
            call.wait().expect("no limit was reached");
        }
        for call in calls.into_iter().chain(batch) {
            call.wait().expect("no limit was reached");
        }
        let Err(CallError::Function(_, context)) = failing.wait() else {
            panic!("it must fail by itself");
        };
        let [attempt] = context.attempts() else {
            panic!("one attempt: {:?}", context.attempts());
        };
        assert!(attempt.start >= before && attempt.start <= Instant::now());
        println!("ended {round}");
    }
    let again = delayed.wait().expect("the second attempt succeeds");
    std::fs::write(file("again"), again.as_nanos().to_string()).expect("a writable directory");
}

#[function(max_workers = 1)]
fn starts_others() {
    let start = |program: &str, arguments: &[&str]| {
        drop(
            Command::new(program)
                .args(arguments)
                .spawn()
                .expect("a program"),
        );
    };
    start("sleep", &["600"]);
    start("setsid", &["sleep", "600"]);
    start(
        "sh",
        &["-c", "trap '' HUP; echo begun ignoring; exec sleep 600"],
    );
    stay("starts_others", 1);
}

#[function(max_workers = 2, max_calls_per_worker = 1)]
fn needs_a_new_worker() {}

/// Starts workers all the time.
fn keep_starting() {
    while !file("1").exists() {
        for result in needs_a_new_worker.map([(); 10]) {
            result.expect("it does nothing");
        }
        println!("begun again");
    }
}

/// Returns a runtime whose workers are children of a script, which waits for a file before it starts them.
fn behind_a_script() -> Runtime {
    const SCRIPT: &str = "#!/bin/sh
        echo begun script
        while [ ! -e \"$FILES/2\" ]; do :; done
        \"$PROGRAM\" \"$@\"
        exit $?";
    let script = file("script");
    std::fs::write(&script, SCRIPT).expect("a writable directory");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("its own file");
    let program = std::env::current_exe().expect("this program");
    let runtime = Runtime::builder()
        .worker_program(script)
        .env("PROGRAM", program);
    runtime.build().expect("a runtime")
}

/// Ends in the first call of each worker.
#[function(max_workers = 1, at_most_once)]
fn dies() {
    std::process::abort();
}

/// Makes calls in one of several ways.
#[local_entrypoint]
fn main(how: String) {
    match how.as_str() {
        "limits" => keep_limits(),
        "one call" => println!("main got {:?}", waits.remote(1).wait().is_ok()),
        "get" => {
            let mut call = waits.spawn(1);
            let result = call.get(Duration::from_secs(5));
            println!("main got {:?}", result.is_some_and(|result| result.is_ok()));
        }
        "standby" => {
            // Its worker is requested first, so the standby is left.
            let call = waits.spawn(1);
            assert!(dies.remote().wait().is_err());
            println!("a worker has died");
            println!("main got {:?}", call.wait().is_ok());
        }
        "starts" => keep_starting(),
        "others" => drop(starts_others.remote().wait()),
        "script" | "passing script" => {
            if how != "script" {
                std::fs::write(file("2"), "").expect("a writable directory");
            }
            let runtime = behind_a_script();
            drop(waits.on(&runtime).remote(1).wait());
        }
        "set-up" => drop(is_set_up.remote(1).wait()),
        _ => panic!("not known: {how}"),
    }
}
