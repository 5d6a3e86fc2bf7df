//! Faults of section B: hangs and the passage of time. The numbers are those of the table in
//! `docs/faults.md`.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use retry_runtime::testing::pause_clock;
use retry_runtime::{
    AttemptOutcome, CallError, EventKind, Limit, Options, Retries, Retry, Retryable, Runtime,
    function,
};
use retry_tests::{Ledger, eventually, fixture, record, workers};
use rustix::process::{Signal, getpid, kill_process};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

/// Hangs in the given way, with a process that it has started if the mode asks for one.
#[function(max_workers = 1, timeout = "500ms")]
fn hangs(ledger: PathBuf, how: &str) -> u32 {
    record(&ledger, u64::from(std::process::id()));
    match how {
        "not" => return std::process::id(),
        "spinning" => loop {
            std::hint::spin_loop();
        },
        "with a child" => {
            let mut child = std::process::Command::new("sleep");
            child.arg("600").status().unwrap();
        }
        "stopped" => kill_process(getpid(), Signal::STOP).unwrap(),
        "deadlocked" => {
            let locks = Arc::new((Mutex::new(()), Mutex::new(())));
            let other = Arc::clone(&locks);
            let first = locks.0.lock();
            let second = std::thread::spawn(move || {
                let _second = other.1.lock();
                let _first = other.0.lock();
            });
            std::thread::sleep(Duration::from_millis(50));
            let _second = locks.1.lock();
            drop(first);
            second.join().unwrap();
        }
        _ => {}
    }
    std::thread::sleep(LIMIT);
    0
}

// B1, B4, B7
#[retry_runtime::test]
fn a_hanging_function_is_gone_at_its_timeout() {
    fixture(LIMIT, serves, || {
        for how in [
            "spinning",
            "asleep",
            "with a child",
            "stopped",
            "deadlocked",
        ] {
            // Use a worker that is ready, so that its start does not count.
            let ledger = Ledger::new();
            let warm = hangs.remote(ledger.path(), "not").wait().unwrap();
            let begun = Instant::now();
            let late = hangs.spawn(ledger.path(), how);
            let behind = hangs.spawn(ledger.path(), "not");
            let error = late.wait().unwrap_err();
            let told = begun.elapsed();
            match &error {
                CallError::TimedOut(timed_out, context) => {
                    assert_eq!(timed_out.limit(), Limit::Attempt);
                    assert_eq!(context.attempts()[0].worker_pid, Some(warm));
                }
                other => panic!("{how}: {other:?}"),
            }
            assert!(told >= Duration::from_millis(500), "{how}: {told:?}");
            // On an idle machine this takes milliseconds.
            assert!(told < Duration::from_secs(2), "{how}: {told:?}");
            assert_ne!(behind.wait().unwrap(), warm, "{how}");
            eventually("it is gone", Duration::from_secs(2), || {
                !Path::new("/proc").join(warm.to_string()).exists()
            });
        }
    });
}

#[function(max_workers = 1, concurrency = 2, timeout = "200ms", grace = "400ms")]
async fn does_not_yield() {
    std::thread::sleep(LIMIT);
}

/// Handles SIGTERM and continues.
#[function(max_workers = 1, timeout = "200ms", grace = "400ms")]
fn handles_sigterm() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut signals = tokio::signal::unix::signal(kind).unwrap();
        signals.recv().await;
        eprintln!("asked to end");
        std::future::pending::<()>().await;
    });
}

// B2, B3
#[retry_runtime::test]
fn a_function_that_outlasts_its_grace_is_killed() {
    fixture(LIMIT, serves, || {
        let begun = Instant::now();
        let error = handles_sigterm.remote().wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        assert!(begun.elapsed() >= Duration::from_millis(600));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let begun = Instant::now();
        let error = does_not_yield.remote().wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        assert!(begun.elapsed() >= Duration::from_millis(600));
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
}

// B4
#[retry_runtime::test]
fn a_stopped_worker_is_noticed_by_a_limit_only() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let no_timeout = retry_runtime::Options::new().no_timeout();
        let mut call = hangs
            .with_options(no_timeout)
            .spawn(ledger.path(), "stopped");
        eventually("it runs", Duration::from_secs(20), || ledger.total() == 1);
        assert!(call.get(Duration::from_millis(300)).is_none());
        call.cancel();
        assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
        let pid = ledger.entries()[0].pid;
        eventually("it is gone", Duration::from_secs(5), || {
            !workers().contains(&pid)
        });
    });
}

// B14
#[retry_runtime::test]
fn limits_may_be_longer_than_any_clock() {
    fixture(LIMIT, serves, || {
        let call = echo.remote(5).timeout(Duration::MAX);
        assert_eq!(call.deadline(Duration::MAX).wait().unwrap(), 5);
        let mut call = echo.spawn(6);
        assert_eq!(call.get(Duration::MAX).unwrap().unwrap(), 6);
        let policy = Retries::exponential(u32::MAX).max_delay(Duration::from_secs(86_400));
        assert_eq!(policy.delay(u32::MAX), Some(Duration::from_secs(86_400)));
        assert_eq!(echo.remote(7).retries(policy).wait().unwrap(), 7);
    });
}

/// Returns the panic message of a setter for a limit of zero.
fn refusal<T>(set: impl FnOnce() -> T) -> String {
    let result = catch_unwind(AssertUnwindSafe(set)).map(|_| ());
    let panic = result.expect_err("it is refused");
    let message = panic.downcast_ref::<&str>().expect("a sentence");
    (*message).to_owned()
}

// B14
#[retry_runtime::test]
fn a_limit_of_zero_is_refused_where_it_is_set() {
    fixture(LIMIT, serves, || {
        let zero = Duration::ZERO;
        let timeout = "`timeout` must be longer than zero; leave it out for no limit";
        let deadline = "`deadline` must be longer than zero; leave it out for no limit";
        assert_eq!(refusal(|| Options::new().timeout(zero)), timeout);
        assert_eq!(refusal(|| Options::new().deadline(zero)), deadline);
        assert_eq!(refusal(|| echo.remote(1).timeout(zero)), timeout);
        assert_eq!(refusal(|| echo.remote(1).deadline(zero)), deadline);
        assert_eq!(refusal(|| echo.map([1]).timeout(zero)), timeout);
        assert_eq!(refusal(|| echo.map([1]).deadline(zero)), deadline);
        let builder = Runtime::builder;
        assert_eq!(refusal(|| builder().timeout(zero)), timeout);
        assert_eq!(refusal(|| builder().deadline(zero)), deadline);
        assert_eq!(
            refusal(|| builder().startup_timeout(zero)),
            "`startup_timeout` must be longer than zero; leave it out for 60s"
        );
        assert_eq!(
            refusal(|| builder().scaledown_window(zero)),
            "`scaledown_window` must be longer than zero; for a new worker per call there is \
             `single_use_workers`"
        );
        let short = echo.remote(1).timeout(Duration::from_nanos(1)).wait();
        assert!(matches!(short, Ok(1) | Err(CallError::TimedOut(..))));
    });
}

const SPREAD: Retries = Retries::fixed(1, Duration::from_secs(1)).jitter();

#[function(retries = SPREAD, max_workers = 2)]
fn fails_with_all_others() -> Result<(), ()> {
    Err(())
}

// B15
#[retry_runtime::test]
fn a_thousand_retries_are_spread_by_jitter() {
    fixture(LIMIT, serves, || {
        let _clock = pause_clock();
        let mut events = retry_runtime::events();
        for result in fails_with_all_others.map([(); 1000]) {
            result.unwrap_err();
        }
        let mut buckets = BTreeMap::new();
        while let Some(event) = events.try_next() {
            if let EventKind::Retrying { delay, .. } = event.kind
                && event.function == fails_with_all_others.name()
            {
                *buckets.entry(delay.as_millis() / 10).or_insert(0) += 1;
            }
        }
        assert_eq!(buckets.values().sum::<u32>(), 1000);
        // Uniformly distributed, each of the hundred buckets would hold 10; 50 is a share of 5 %.
        let most = buckets.values().max().unwrap();
        assert!(*most <= 50, "{buckets:?}");
    });
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Busy(Duration);

impl Retryable for Busy {
    fn retry(&self) -> Retry {
        Retry::After(self.0)
    }
}

#[function(retries = 5)]
fn is_busy(ledger: PathBuf, pause: Duration) -> Result<(), Busy> {
    record(&ledger, 1);
    Err(Busy(pause))
}

// B16, B13
#[retry_runtime::test]
fn a_pause_beyond_the_deadline_is_not_begun() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let begun = Instant::now();
        let call = is_busy.remote(ledger.path(), Duration::from_secs(600));
        match call.deadline(Duration::from_secs(60)).wait() {
            Err(CallError::Function(Busy(pause), context)) => {
                assert_eq!(pause, Duration::from_secs(600));
                let outcome = &context.attempts()[0].outcome;
                assert!(matches!(outcome, AttemptOutcome::Failed), "{outcome:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(ledger.total(), 1);
    });
}
