//! Functions that call functions.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, EventKind, Rejected, function};
use retry_tests::{Ledger, eventually, fixture, record};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

#[function(max_workers = 1)]
fn down(levels: u32) -> Result<u32, CallError<String>> {
    if levels == 0 {
        return Ok(0);
    }
    // Errors of the inner call are passed on unchanged.
    let inner: Result<u32, _> = down.remote(levels - 1).wait();
    match inner {
        Ok(depth) => Ok(depth + 1),
        Err(CallError::Function(error, _)) => Err(error),
        Err(error) => match error {
            CallError::Rejected(rejected, context) => Err(CallError::Rejected(rejected, context)),
            other => panic!("{other}"),
        },
    }
}

#[retry_runtime::test]
fn a_function_may_call_itself_even_with_one_worker() {
    fixture(LIMIT, serves, || {
        for levels in [1, 2, 3, 10] {
            assert_eq!(down.remote(levels).wait().unwrap(), levels);
        }
        match down.remote(11).wait() {
            Err(CallError::Function(CallError::Rejected(Rejected::TooDeep { limit }, _), _)) => {
                assert_eq!(limit, 10);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[function(max_workers = 2)]
fn fib(n: u64) -> u64 {
    // Calls may be nested ten deep, and small problems are not worth a process.
    if n < 6 {
        return if n < 2 { n } else { fib(n - 1) + fib(n - 2) };
    }
    let first = fib.spawn(n - 1);
    let second = fib.remote(n - 2).wait().unwrap();
    first.wait().unwrap() + second
}

#[retry_runtime::test]
fn recursion_ends_with_few_processes() {
    fixture(LIMIT, serves, || {
        let mut events = retry_runtime::events();
        assert_eq!(fib.remote(15).wait().unwrap(), 610);
        let mut pids = BTreeSet::new();
        while let Some(event) = events.try_next() {
            if let EventKind::WorkerUp { .. } = event.kind
                && event.function == fib.name()
            {
                pids.insert(event.worker_pid);
            }
        }
        assert!(pids.len() <= 40, "{} processes", pids.len());
    });
}

#[function(max_workers = 2)]
fn sums(numbers: Vec<u64>) -> u64 {
    echo.map(numbers).into_iter().map(Result::unwrap).sum()
}

#[function(max_workers = 2)]
fn sums_of_sums(count: u64) -> u64 {
    let inputs = (0..count).map(|number| (0..number).collect::<Vec<_>>());
    sums.map(inputs).into_iter().map(Result::unwrap).sum()
}

#[retry_runtime::test]
fn maps_of_maps_do_not_wait_for_each_other() {
    fixture(LIMIT, serves, || {
        let expected: u64 = (0..30u64).map(|n| (0..n).sum::<u64>()).sum();
        let results = sums_of_sums.map([30; 6]).into_iter();
        for result in results {
            assert_eq!(result.unwrap(), expected);
        }
    });
}

#[function]
fn inner_of(value: u64) -> u64 {
    value
}

#[function]
fn outer_of(value: u64) -> u64 {
    inner_of.remote(value).wait().unwrap()
}

#[retry_runtime::test]
fn parent_and_child_appear_as_such_in_the_events() {
    fixture(LIMIT, serves, || {
        let mut events = retry_runtime::events();
        assert_eq!(outer_of.remote(5).wait().unwrap(), 5);
        let mut outer = None;
        let mut child_of = None;
        while let Some(event) = events.try_next() {
            if event.kind == EventKind::Queued {
                if event.function == outer_of.name() {
                    outer = event.call;
                } else if event.function == inner_of.name() {
                    child_of = event.parent;
                }
            }
        }
        assert!(outer.is_some());
        assert_eq!(outer, child_of);
    });
}

#[function(timeout = "60s")]
fn sleeps(ledger: PathBuf) {
    record(&ledger, 1);
    std::thread::sleep(Duration::from_secs(60));
}

#[function]
fn waits_for_sleeps(ledger: PathBuf) {
    sleeps.remote(ledger).wait().unwrap();
}

/// Makes a call before there is one that could make it.
fn calls_in_its_set_up() -> String {
    let outcome = echo.remote(1).wait();
    outcome.map_or_else(|error| error.to_string(), |value| value.to_string())
}

#[function(setup = calls_in_its_set_up)]
fn outcome_of_the_set_up(outcome: &String) -> String {
    outcome.clone()
}

#[retry_runtime::test]
fn a_set_up_makes_no_calls() {
    fixture(LIMIT, serves, || {
        let outcome = outcome_of_the_set_up.remote().wait().unwrap();
        assert!(outcome.ends_with("no call made it"), "{outcome}");
    });
}

#[retry_runtime::test]
fn the_end_of_the_outer_call_ends_the_inner_one() {
    fixture(LIMIT, serves, || {
        let mut events = retry_runtime::events();
        let ledger = Ledger::new();
        let call = waits_for_sleeps.spawn(ledger.path());
        eventually("the inner call runs", Duration::from_secs(20), || {
            ledger.total() == 1
        });
        call.cancel();
        let begun = Instant::now();
        let mut ended = 0;
        while ended < 2 {
            match events.next_timeout(Duration::from_secs(10)) {
                Some(event)
                    if matches!(event.kind, EventKind::WorkerDown { .. })
                        && [sleeps.name(), waits_for_sleeps.name()].contains(&event.function) =>
                {
                    ended += 1;
                }
                Some(_) => {}
                None => panic!("{ended} of 2 workers ended"),
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
    });
}

#[function]
fn waits_without_limit(ledger: PathBuf) -> String {
    match sleeps.remote(ledger).wait() {
        Err(error @ CallError::TimedOut(..)) => error.to_string(),
        other => format!("{other:?}"),
    }
}

#[retry_runtime::test]
fn the_deadline_is_inherited() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let begun = Instant::now();
        let error = waits_without_limit
            .remote(ledger.path())
            .deadline(Duration::from_millis(400))
            .wait()
            .unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    });
}

#[function]
async fn from_async(value: u64) -> u64 {
    echo.remote(value).await.unwrap() + 1
}

#[retry_runtime::test]
fn async_functions_await_their_calls() {
    fixture(LIMIT, serves, || {
        for (input, result) in (0..200).zip(from_async.map(0..200)) {
            assert_eq!(result.unwrap(), input + 1);
        }
    });
}

#[function]
fn marks(ledger: PathBuf, input: u64) {
    record(&ledger, input);
}

#[function]
fn leaves_behind(ledger: PathBuf, input: u64) {
    drop(marks.spawn(ledger, input));
}

#[retry_runtime::test]
fn a_call_that_a_function_spawns_and_drops_is_run() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = (0..200).map(|input| (ledger.path(), input));
        for result in leaves_behind.map(inputs) {
            result.unwrap();
        }
        eventually("all have run", Duration::from_secs(20), || {
            ledger.executions().len() == 200
        });
    });
}
