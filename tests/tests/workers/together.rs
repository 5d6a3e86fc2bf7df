//! Several inputs at once in one worker: async functions and batches.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, Lost, function};
use retry_tests::{Ledger, fixture, record};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

#[function(max_workers = 1, concurrency = 50)]
async fn sleeps(milliseconds: u64) -> u32 {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    std::process::id()
}

#[retry_runtime::test]
fn an_async_function_runs_many_inputs_at_once_in_one_worker() {
    fixture(LIMIT, serves, || {
        sleeps.remote(0).wait().unwrap();
        let begun = Instant::now();
        let mut pids: Vec<u32> = sleeps
            .map([100; 50])
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(begun.elapsed() < Duration::from_secs(2));
        pids.dedup();
        assert_eq!(pids.len(), 1);
    });
}

#[retry_runtime::test]
fn a_timeout_of_one_ends_only_that_one() {
    fixture(LIMIT, serves, || {
        let pid = sleeps.remote(0).wait().unwrap();
        let slow = sleeps.spawn(500);
        let error = sleeps
            .remote(60_000)
            .timeout(Duration::from_millis(100))
            .wait()
            .unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        let dropped = sleeps.spawn(60_000);
        dropped.cancel();
        assert_eq!(slow.wait().unwrap(), pid, "it was not disturbed");
        assert_eq!(sleeps.remote(0).wait().unwrap(), pid);
    });
}

#[function(max_workers = 1, concurrency = 4, timeout = "200ms")]
async fn may_block(block: bool) -> u32 {
    if block {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    std::process::id()
}

#[retry_runtime::test]
fn an_input_that_does_not_yield_is_blamed_alone() {
    fixture(LIMIT, serves, || {
        let before = may_block.remote(false).wait().unwrap();
        let error = may_block.remote(true).wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        assert_ne!(may_block.remote(false).wait().unwrap(), before);
    });
}

/// All inputs begin together, so that the time of all of them is over when that of the one is.
#[retry_runtime::test]
fn inputs_beside_one_that_does_not_yield_do_not_time_out() {
    fixture(LIMIT, serves, || {
        for blocks in 0..4 {
            let inputs = (0..12).map(|input| input == blocks);
            for (input, result) in may_block.map(inputs).into_iter().enumerate() {
                match result {
                    Ok(_) => assert_ne!(input, blocks),
                    Err(error) => {
                        assert_eq!(input, blocks, "{error:?}");
                        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
                    }
                }
            }
        }
    });
}

#[function(max_workers = 1, concurrency = 3, at_most_once)]
async fn dies_among_others(die: bool) -> u32 {
    tokio::time::sleep(Duration::from_millis(100)).await;
    if die {
        std::process::abort();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    0
}

#[retry_runtime::test]
fn a_crash_blames_all_that_were_executing_and_says_so() {
    fixture(LIMIT, serves, || {
        let errors: Vec<_> = dies_among_others
            .map([false, true, false])
            .into_iter()
            .map(Result::unwrap_err)
            .collect();
        for error in errors {
            let CallError::Crashed(crash, _) = &error else {
                panic!("{error:?}");
            };
            assert_eq!(crash.executing(), 3);
            assert!(error.to_string().contains("3 inputs"), "{error}");
        }
    });
}

/// Crashes for one input of a thousand, while others are executing.
#[function(max_workers = 2, concurrency = 40)]
async fn poisoned(ledger: PathBuf, input: u64) -> u64 {
    record(&ledger, input);
    tokio::time::sleep(Duration::from_millis(1)).await;
    if input == POISON {
        std::process::abort();
    }
    input
}

#[function(max_workers = 2, batch(max_size = 40, max_wait = "5ms"))]
fn poisoned_batch(inputs: Vec<(PathBuf, u64)>) -> Vec<u64> {
    for (ledger, input) in &inputs {
        record(ledger, *input);
    }
    if inputs.iter().any(|(_, input)| *input == POISON) {
        // An orderly exit, which flushes standard output first, is treated no better than a crash.
        std::process::exit(0);
    }
    inputs.into_iter().map(|(_, input)| input).collect()
}

const POISON: u64 = 470;

/// Asserts that of a thousand inputs only the poisonous one fails, and that the others are executed at most
/// twice.
fn only_the_poison_fails(
    ledger: &Ledger,
    results: impl Iterator<Item = Result<u64, CallError<Infallible>>>,
) {
    for (input, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert_eq!(value, input),
            Err(CallError::Crashed(crash, context)) => {
                assert_eq!(input, POISON, "{crash}");
                assert_eq!(crash.executing(), 1);
                assert_eq!(context.attempts().len(), 3);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let executions = ledger.executions();
    assert_eq!(executions.len(), 1000);
    assert_eq!(executions[&POISON], 3);
    let mut others = executions.iter().filter(|(input, _)| **input != POISON);
    assert!(others.all(|(_, executions)| *executions <= 2));
}

#[retry_runtime::test]
fn only_the_async_input_that_crashes_alone_fails() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = (0..1000).map(|input| (ledger.path(), input));
        only_the_poison_fails(&ledger, poisoned.map(inputs).into_iter());
    });
}

#[retry_runtime::test]
fn only_the_input_of_a_batch_that_crashes_alone_fails() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = (0..1000).map(|input| (ledger.path(), input));
        only_the_poison_fails(&ledger, poisoned_batch.map(inputs).into_iter());
    });
}

/// Allocates memory, which exceeds the limit only for several calls at once.
#[function(max_workers = 1, concurrency = 8, memory = "300MiB")]
async fn takes(mebibytes: usize) -> usize {
    let taken = vec![1_u8; mebibytes << 20];
    tokio::time::sleep(Duration::from_millis(100)).await;
    taken.len() >> 20
}

#[retry_runtime::test]
fn inputs_that_are_too_much_together_succeed_alone() {
    fixture(LIMIT, serves, || {
        let sizes: Vec<usize> = takes.map([80; 8]).into_iter().map(Result::unwrap).collect();
        assert_eq!(sizes, [80; 8]);
    });
}

#[function(max_workers = 1, concurrency = 8)]
async fn panics_sometimes(input: u64) -> Result<u64, String> {
    tokio::task::yield_now().await;
    match input % 3 {
        0 => Ok(input),
        1 => Err(format!("no {input}")),
        _ => panic!("input {input}"),
    }
}

#[retry_runtime::test]
fn each_of_them_has_its_own_result_error_or_panic() {
    fixture(LIMIT, serves, || {
        for (input, result) in (0..300).zip(panics_sometimes.map(0..300)) {
            match (input % 3, result) {
                (0, Ok(value)) => assert_eq!(value, input),
                (1, Err(CallError::Function(error, _))) => assert_eq!(error, format!("no {input}")),
                (2, Err(CallError::Panicked(panic, _))) => {
                    assert_eq!(panic.message(), format!("input {input}"));
                }
                (_, other) => panic!("{other:?}"),
            }
        }
    });
}

#[function(max_workers = 1, batch(max_size = 16, max_wait = "20ms"))]
fn doubles(inputs: Vec<u64>) -> Vec<(u64, usize)> {
    let size = inputs.len();
    inputs.into_iter().map(|input| (input * 2, size)).collect()
}

#[function(batch(max_size = 8))]
fn halves(inputs: Vec<u64>) -> Vec<Result<u64, String>> {
    inputs
        .into_iter()
        .map(|input| match input % 2 {
            0 => Ok(input / 2),
            _ => Err(format!("{input} is odd")),
        })
        .collect()
}

#[function(batch(max_size = 4))]
fn loses_one(mut inputs: Vec<u64>) -> Vec<u64> {
    inputs.pop();
    inputs
}

#[retry_runtime::test]
fn inputs_are_batched_and_results_go_to_their_callers() {
    fixture(LIMIT, serves, || {
        assert_eq!(doubles(vec![1, 2]), [(2, 2), (4, 2)], "an ordinary call");
        assert_eq!(doubles.remote(4).wait().unwrap().0, 8);
        let results: Vec<(u64, usize)> = doubles
            .map(0..1000)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        for (input, (result, size)) in (0..).zip(&results) {
            assert_eq!(*result, input * 2);
            assert!(*size <= 16);
        }
        let full = results.iter().filter(|(_, size)| *size == 16).count();
        assert!(full > 800, "{full} of 1000 in full batches");
        for (input, result) in (0..100).zip(halves.map(0..100)) {
            match result {
                Ok(half) => assert_eq!(half * 2, input),
                Err(CallError::Function(error, _)) => assert_eq!(error, format!("{input} is odd")),
                Err(other) => panic!("{other:?}"),
            }
        }
        match loses_one.remote(3).wait() {
            Err(CallError::Lost(Lost::WrongLength { inputs, results }, _)) => {
                assert_eq!((inputs, results), (1, 0));
            }
            other => panic!("{other:?}"),
        }
    });
}
