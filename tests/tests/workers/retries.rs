//! Retries: their number, their delays, and the failures that they apply to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, EventKind, Options, Retries, function};
use retry_tests::{Ledger, fixture, record};
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum Trouble {
    #[error("try again")]
    Passing,
    #[error("never again")]
    Fatal,
}

#[function(retries(max_retries = 3, initial_delay = "0s"), retry_if = is_passing)]
fn troubled(ledger: PathBuf, good_from: u32, fatal: bool) -> Result<u32, Trouble> {
    record(&ledger, 0);
    let attempt = retry_runtime::current().unwrap().attempt();
    match () {
        () if attempt >= good_from => Ok(attempt),
        () if fatal => Err(Trouble::Fatal),
        () => Err(Trouble::Passing),
    }
}

/// Checks that the function that fails on demand can also succeed.
fn serves() -> bool {
    let ledger = Ledger::new();
    troubled.remote(ledger.path(), 0, false).wait().is_ok()
}

fn is_passing(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Passing)
}

#[function(retries = 3)]
fn fixed() -> Result<(), String> {
    Err("no".to_owned())
}

#[function(retries(max_retries = 5, initial_delay = "200ms", max_delay = "1s"))]
fn exponential() -> Result<(), String> {
    Err("no".to_owned())
}

#[function(retries = Retries::fixed(1, Duration::ZERO))]
fn panics_once(ledger: PathBuf) -> u32 {
    record(&ledger, 0);
    let attempt = retry_runtime::current().unwrap().attempt();
    assert!(attempt > 1, "the first attempt");
    attempt
}

#[function(retries = Retries::fixed(1, Duration::ZERO), timeout = "200ms")]
fn hangs_once() -> u32 {
    let attempt = retry_runtime::current().unwrap().attempt();
    if attempt == 1 {
        std::thread::sleep(Duration::from_secs(60));
    }
    attempt
}

#[retry_runtime::test]
fn n_retries_are_at_most_n_plus_one_attempts() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let error = troubled
            .remote(ledger.path(), 99, false)
            .wait()
            .unwrap_err();
        assert!(matches!(error, CallError::Function(Trouble::Passing, _)));
        assert_eq!(error.context().attempts().len(), 4);
        assert_eq!(ledger.total(), 4);
        assert_eq!(
            error.to_string(),
            "troubled failed after 4 attempts: try again"
        );
    });
}

#[retry_runtime::test]
fn a_success_ends_the_retries() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        assert_eq!(troubled.remote(ledger.path(), 3, false).wait().unwrap(), 3);
        assert_eq!(ledger.total(), 3);
    });
}

#[retry_runtime::test]
fn retry_if_decides_about_errors() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let error = troubled.remote(ledger.path(), 99, true).wait().unwrap_err();
        assert!(matches!(error, CallError::Function(Trouble::Fatal, _)));
        assert_eq!(ledger.total(), 1);
    });
}

#[retry_runtime::test]
fn panics_and_timeouts_are_retried() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        assert_eq!(panics_once.remote(ledger.path()).wait().unwrap(), 2);
        assert_eq!(hangs_once.remote().wait().unwrap(), 2);
    });
}

#[retry_runtime::test]
fn options_override_and_unset() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let once = troubled.with_options(Options::new().no_retries());
        assert!(once.remote(ledger.path(), 99, false).wait().is_err());
        assert_eq!(ledger.total(), 1);
        let twice = once
            .remote(ledger.path(), 99, false)
            .retries(Retries::fixed(1, Duration::ZERO));
        assert!(twice.wait().is_err());
        assert_eq!(ledger.total(), 3);
    });
}

/// Asserts that the gaps between a failure and the next attempt are these, in milliseconds.
#[track_caller]
fn assert_gaps<E: std::fmt::Debug>(error: &CallError<E>, expected: &[u64]) {
    let gaps: Vec<Duration> = error
        .context()
        .attempts()
        .windows(2)
        .map(|pair| pair[1].start - (pair[0].start + pair[0].duration))
        .collect();
    assert_eq!(gaps.len(), expected.len(), "{error:?}");
    for (gap, expected) in gaps.iter().zip(expected) {
        let expected = Duration::from_millis(*expected);
        // Never early, and late only by as much as a busy machine may add.
        assert!(
            *gap + Duration::from_millis(2) >= expected,
            "{gap:?} instead of {expected:?}"
        );
        assert!(
            *gap < expected + Duration::from_secs(2),
            "{gap:?} instead of {expected:?}"
        );
    }
}

#[retry_runtime::test]
fn observed_delays_are_those_of_the_schedule() {
    fixture(LIMIT, serves, || {
        let mut events = retry_runtime::events();
        let calls = std::thread::spawn(|| fixed.remote().wait().unwrap_err());
        let growing = [200, 400, 800, 1000, 1000];
        assert_gaps(&exponential.remote().wait().unwrap_err(), &growing);
        let equal = [1000, 1000, 1000];
        assert_gaps(&calls.join().unwrap(), &equal);

        // The configured delays, to the millisecond.
        let mut delays: BTreeMap<&str, Vec<u128>> = BTreeMap::new();
        while let Some(event) = events.try_next() {
            if let EventKind::Retrying { delay, .. } = event.kind {
                let delays = delays.entry(event.function).or_default();
                delays.push(delay.as_millis());
            }
        }
        assert_eq!(delays[exponential.name()], growing.map(u128::from));
        assert_eq!(delays[fixed.name()], equal.map(u128::from));
    });
}

#[retry_runtime::test]
fn a_delay_that_would_cross_the_deadline_fails_now() {
    fixture(LIMIT, serves, || {
        let begun = Instant::now();
        let error = fixed
            .remote()
            .retries(Retries::fixed(3, Duration::from_secs(60)))
            .deadline(Duration::from_secs(59))
            .wait()
            .unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(30));
        match error {
            CallError::Function(_, context) => assert_eq!(context.attempts().len(), 1),
            other => panic!("{other:?}"),
        }
    });
}
