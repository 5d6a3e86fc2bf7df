//! Limits, and the request to stop that precedes a kill.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use retry_runtime::testing::pause_clock;
use retry_runtime::{
    AttemptOutcome, CallError, Event, EventKind, ExitCause, Retry, Retryable, current, function,
};
use retry_tests::{Ledger, eventually, fixture, record};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

#[function(max_workers = 1, timeout = "100ms", grace = "5s")]
fn cooperates(ignore: bool) -> u32 {
    let token = current().unwrap().token();
    while ignore || !token.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

#[function(max_workers = 1)]
fn own_pid() -> u32 {
    std::process::id()
}

#[function(max_workers = 1, timeout = "100ms", grace = "300ms")]
fn waits_for_a_child() -> bool {
    let mut command = std::process::Command::new("sleep");
    command.arg("60").status().is_ok()
}

#[retry_runtime::test]
fn a_function_with_a_grace_is_asked_and_its_worker_lives_on() {
    fixture(LIMIT, serves, || {
        for _ in 0..3 {
            let begun = Instant::now();
            let error = cooperates.remote(false).wait().unwrap_err();
            assert!(begun.elapsed() >= Duration::from_millis(100));
            assert!(begun.elapsed() < Duration::from_secs(2));
            match &error {
                CallError::TimedOut(_, context) => {
                    let outcome = &context.attempts()[0].outcome;
                    assert_eq!(
                        *outcome,
                        AttemptOutcome::TimedOut(Duration::from_millis(100))
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        let first = cooperates.remote(false).wait().unwrap_err();
        let second = cooperates.remote(false).wait().unwrap_err();
        let pid = |error: &CallError<_>| error.context().attempts()[0].worker_pid;
        assert_eq!(pid(&first), pid(&second), "the worker was reused");
    });
}

#[retry_runtime::test]
fn a_function_ignoring_its_grace_is_killed_with_its_children() {
    fixture(LIMIT, serves, || {
        let begun = Instant::now();
        let error = waits_for_a_child.remote().wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        // A signal is sent after half of the grace period; its default action ends the worker.
        assert!(begun.elapsed() >= Duration::from_millis(250));
        assert!(begun.elapsed() < Duration::from_secs(2));
    });
}

#[retry_runtime::test]
fn a_dropped_call_is_asked_too_and_its_worker_reused() {
    fixture(LIMIT, serves, || {
        let warm = cooperates.remote(false).wait().unwrap_err();
        let pid = warm.context().attempts()[0].worker_pid;
        let call = cooperates
            .with_options(retry_runtime::Options::new().no_timeout())
            .spawn(false);
        std::thread::sleep(Duration::from_millis(50));
        call.cancel();
        assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
        let after = cooperates.remote(false).wait().unwrap_err();
        assert_eq!(after.context().attempts()[0].worker_pid, pid);
    });
}

#[function(max_workers = 1, memory = "200MiB", retries = 0)]
fn allocates(megabytes: usize) -> usize {
    let mut held = Vec::new();
    for _ in 0..megabytes {
        held.push(vec![1u8; 1024 * 1024]);
        // Slow enough to be noticed where only the library checks, and not the kernel.
        std::thread::sleep(Duration::from_micros(300));
    }
    held.len()
}

#[function(max_workers = 1, memory = "200MiB")]
fn is_killed_from_outside() {
    let pid = rustix::process::getpid();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[retry_runtime::test]
fn too_much_memory_is_named_with_limit_and_peak_and_only_then() {
    fixture(LIMIT, serves, || {
        assert_eq!(allocates.remote(50).wait().unwrap(), 50);
        let error = allocates.remote(5000).wait().unwrap_err();
        match &error {
            CallError::Crashed(crash, context) => {
                let ExitCause::OutOfMemory { limit, peak } = crash.cause() else {
                    panic!("{crash:?}");
                };
                assert_eq!(limit, 200 * 1024 * 1024);
                // The kernel stops the worker at the limit, or the library does soon after.
                assert!(peak > limit / 10 * 9 && peak < 2 * limit, "{peak}");
                assert_eq!(context.attempts().len(), 3);
            }
            other => panic!("{other:?}"),
        }
        assert!(
            error.to_string().contains("limit 200 MiB, peak "),
            "{error}"
        );
        let error = is_killed_from_outside.remote().wait().unwrap_err();
        assert!(error.to_string().contains("SIGKILL"), "{error}");
    });
}

#[function(max_workers = 1, memory = "48MiB")]
fn count(lines: Vec<String>) -> usize {
    lines.len()
}

#[function(max_workers = 1, memory = "48MiB", at_most_once)]
fn count_once(lines: Vec<String>) -> usize {
    lines.len()
}

#[retry_runtime::test]
fn arguments_above_the_memory_limit_are_given_up() {
    fixture(LIMIT, serves, || {
        let large = || vec!["x".repeat(20 * 1024 * 1024); 4];
        let behind = count.spawn(large());
        let small = count.spawn(vec![String::new(); 3]);
        assert_eq!(small.wait().unwrap(), 3);
        let once = count_once.remote(large());
        for error in [behind.wait().unwrap_err(), once.wait().unwrap_err()] {
            let CallError::Crashed(crash, context) = &error else {
                panic!("{error:?}");
            };
            assert!(matches!(crash.cause(), ExitCause::OutOfMemory { .. }));
            assert!((1..=3).contains(&context.attempts().len()), "{error:?}");
        }
        assert_eq!(count_once.remote(vec![String::new()]).wait().unwrap(), 1);
    });
}

#[function(max_workers = 1, max_rss_growth = "64MiB")]
fn leaks(megabytes: usize) -> u32 {
    std::mem::forget(vec![1u8; megabytes * 1024 * 1024]);
    std::process::id()
}

#[retry_runtime::test]
fn a_leaking_worker_is_replaced_and_a_steady_one_is_not() {
    fixture(LIMIT, serves, || {
        let pids: Vec<u32> = leaks
            .map([10; 40])
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let mut distinct = pids.clone();
        distinct.dedup();
        // Nine calls of 10 MiB fit: the first one sets the baseline, and the next six stay below the limit.
        assert!(distinct.len() >= 4 && distinct.len() <= 8, "{distinct:?}");
        let steady: Vec<u32> = leaks.map([0; 40]).into_iter().map(Result::unwrap).collect();
        assert!(steady.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 1);
    });
}

#[function(min_workers = 2, max_workers = 2, scaledown_window = "50ms")]
fn kept_warm() -> u32 {
    std::process::id()
}

#[retry_runtime::test]
fn the_floor_of_workers_is_kept_and_restored() {
    fixture(LIMIT, serves, || {
        let is_up = |event: &Event| {
            matches!(event.kind, EventKind::WorkerUp { .. }) && event.function == kept_warm.name()
        };
        let mut events = retry_runtime::events();
        kept_warm.remote().wait().unwrap();
        let mut up = Vec::new();
        while up.len() < 2 {
            match events.next_timeout(Duration::from_secs(10)) {
                Some(event) if is_up(&event) => up.push(event.worker_pid),
                Some(_) => {}
                None => panic!("only {} workers came up", up.len()),
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        assert!(
            events
                .try_next()
                .is_none_or(|event| !matches!(event.kind, EventKind::WorkerDown { .. }))
        );
        let victim = up[0].and_then(|pid| i32::try_from(pid).ok()).unwrap();
        let victim = rustix::process::Pid::from_raw(victim).unwrap();
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
        loop {
            match events.next_timeout(Duration::from_secs(10)) {
                Some(event) if is_up(&event) => break,
                Some(_) => {}
                None => panic!("it was not replaced"),
            }
        }
    });
}

/// The delay that an error requests.
const WAIT: Duration = Duration::from_secs(150);

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Trouble {
    Permanent,
    Later,
    Plain,
}

impl Retryable for Trouble {
    fn retry(&self) -> Retry {
        match self {
            Self::Permanent => Retry::No,
            Self::Later => Retry::After(WAIT),
            Self::Plain => Retry::Default,
        }
    }
}

#[function(retries = retry_runtime::Retries::fixed(2, Duration::ZERO))]
fn says_it(ledger: PathBuf, which: u64) -> Result<(), Trouble> {
    record(&ledger, which);
    Err(match which {
        0 => Trouble::Permanent,
        1 => Trouble::Later,
        _ => Trouble::Plain,
    })
}

#[retry_runtime::test]
fn an_error_says_itself_whether_and_when_to_retry() {
    fixture(LIMIT, serves, || {
        // Delays pass at once, and are recorded in the attempts.
        let _clock = pause_clock();
        let ledger = Ledger::new();
        for which in 0..3 {
            let error = says_it.remote(ledger.path(), which).wait().unwrap_err();
            for pair in error.context().attempts().windows(2) {
                let waited = pair[1].start - pair[0].start >= WAIT;
                assert_eq!(waited, which == 1, "{which}: {pair:?}");
            }
        }
        let executions: Vec<u32> = ledger.executions().into_values().collect();
        assert_eq!(executions, [1, 3, 3]);
    });
}

fn open_table() -> Vec<u64> {
    (0..1000).map(|number| number * number).collect()
}

static CLOSED: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();

fn close_table(table: Vec<u64>) {
    assert_eq!(table.len(), 1001);
    if let Some(path) = CLOSED.get() {
        std::fs::write(path, "closed").unwrap();
    }
}

#[function(setup = open_table, teardown = close_table, scaledown_window = "50ms")]
fn pushes(table: &mut Vec<u64>, sign: PathBuf) -> usize {
    let _ = CLOSED.set(sign);
    table.push(0);
    table.len()
}

#[retry_runtime::test]
fn a_worker_that_ends_in_order_gives_its_state_to_the_teardown() {
    fixture(LIMIT, serves, || {
        let directory = tempfile::tempdir().unwrap();
        let sign = directory.path().join("sign");
        assert_eq!(pushes.remote(sign.clone()).wait().unwrap(), 1001);
        eventually("the table is closed", Duration::from_secs(10), || {
            sign.exists()
        });
    });
}
