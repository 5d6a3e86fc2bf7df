//! Faults of section C: memory. The numbers are those of the table in `docs/faults.md`.

use std::process::Command;
use std::time::Duration;

use retry_runtime::{CallError, ExitCause, Retries, Runtime, function};
use retry_tests::fixture;

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

#[function(at_most_once)]
fn allocates_at_once(bytes: usize) -> usize {
    std::hint::black_box(vec![1u8; bytes]).len()
}

// C1
#[retry_runtime::test]
fn a_failed_allocation_is_a_crash_and_not_the_memory_limit() {
    fixture(LIMIT, serves, || {
        // A backtrace would exceed the number of lines that are kept.
        let runtime = Runtime::builder().env_remove("RUST_BACKTRACE").build();
        let on = allocates_at_once.on(&runtime.unwrap());
        match on.remote(1 << 46).wait() {
            Err(CallError::Crashed(crash, context)) => {
                assert_eq!(crash.signal(), Some(6), "{crash}");
                let tail = context.stderr_tail();
                assert!(tail.contains("memory allocation of"), "{tail}");
            }
            other => panic!("{other:?}"),
        }
    });
}

// C5
#[retry_runtime::test]
fn a_capacity_that_cannot_be_is_a_panic_and_no_crash() {
    fixture(LIMIT, serves, || {
        match allocates_at_once.remote(usize::MAX).wait() {
            Err(CallError::Panicked(panic, _)) => {
                assert_eq!(panic.message(), "capacity overflow");
            }
            other => panic!("{other:?}"),
        }
    });
}

/// Uses almost no memory itself.
#[function(memory = "200MiB", at_most_once)]
fn has_a_child_that_allocates() -> bool {
    let script = "head -c 1000m /dev/zero | tail -c 1000m | (sleep 60; cat) > /dev/null";
    let status = Command::new("sh").args(["-c", script]).status();
    status.is_ok_and(|status| status.success())
}

// C4
#[retry_runtime::test]
fn memory_of_processes_that_a_function_started_counts() {
    fixture(LIMIT, serves, || {
        match has_a_child_that_allocates.remote().wait() {
            Err(CallError::Crashed(crash, _)) => match crash.cause() {
                ExitCause::OutOfMemory { limit, peak } => {
                    assert_eq!(limit, 200 << 20);
                    assert!(peak > limit / 10 * 9, "{peak}");
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    });
}

#[function(max_workers = 2)]
fn fails(input: u64) -> Result<u64, String> {
    Err(format!(
        "input {input} is refused, and that is told at some length"
    ))
}

#[function(max_workers = 1, retries = Retries::fixed(500, Duration::ZERO))]
fn never_succeeds() -> Result<(), String> {
    Err("not now".to_owned())
}

// C10
#[retry_runtime::test]
fn a_hundred_thousand_failures_leave_nothing_behind() {
    // The fixture compares the memory before and after.
    fixture(LIMIT, serves, || {
        let failures = fails.map(0..100_000).into_iter().filter(|result| {
            let error = result.as_ref().unwrap_err();
            matches!(error, CallError::Function(..))
        });
        assert_eq!(failures.count(), 100_000);
        let error = never_succeeds.remote().wait().unwrap_err();
        let attempts = error.context().attempts();
        assert_eq!(attempts.len(), 32, "the last ones are kept");
        assert_eq!(attempts.last().unwrap().number, 501);
    });
}
