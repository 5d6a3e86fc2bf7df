//! Limits on time and memory, and workers that are replaced after a while.
//!
//! `cargo run --example limits`

use std::thread::sleep;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, ExitCause, function, local_entrypoint};

// -------------------------------------------------------------------------------------- the time

/// Its worker is killed at the timeout, with every process that it has started.
#[function(timeout = "200ms")]
fn endless() -> u64 {
    loop {
        sleep(Duration::from_secs(1));
    }
}

/// Is asked to stop first, and then has two seconds to tidy up.
#[function(timeout = "200ms", grace = "2s")]
fn tidies_up() {
    let token = retry_runtime::current().expect("runs in a worker").token();
    while !token.is_cancelled() {
        sleep(Duration::from_millis(5));
    }
    println!("asked to stop: temporary files removed");
}

// ------------------------------------------------------------------------------------ the memory

/// May use 128 MiB. The call is retried after the first two crashes; the third one is final.
#[function(memory = "128MiB")]
fn hoards(megabytes: usize) -> usize {
    let mut hoard = Vec::new();
    for _ in 0..megabytes {
        hoard.push(vec![1u8; 1024 * 1024]);
        sleep(Duration::from_micros(500));
    }
    hoard.len()
}

// ----------------------------------------------------------------------------------- the workers

/// Works around a library that leaks: the worker is replaced every three calls.
#[function(max_workers = 1, max_calls_per_worker = 3)]
fn recycled_by_calls() -> u32 {
    std::process::id()
}

/// The worker is replaced once its memory has grown by 32 MiB.
#[function(max_workers = 1, max_rss_growth = "32MiB")]
fn recycled_by_growth() -> u32 {
    std::mem::forget(vec![1u8; 10 * 1024 * 1024]);
    std::process::id()
}

/// Demonstrates each limit.
#[local_entrypoint]
fn main() {
    let begun = Instant::now();
    let error = endless.remote().wait().expect_err("it never returns");
    println!("1. {error}");
    println!("   after {:.1} s", begun.elapsed().as_secs_f64());

    let error = tidies_up.remote().wait().expect_err("it is too late");
    println!("2. {error}");

    println!("3. within the limit: {:?}", hoards.remote(20).wait().ok());
    match hoards.remote(2000).wait() {
        Err(CallError::Crashed(crash, context)) => {
            if let ExitCause::OutOfMemory { limit, peak } = crash.cause() {
                // The kernel stops the worker at the limit, or the library does soon after.
                assert!(peak > limit / 10 * 9);
                println!("   out of memory in {} attempts", context.attempts().len());
            }
        }
        other => println!("   unexpected: {other:?}"),
    }

    let by_calls = changes(
        &recycled_by_calls
            .map([(); 9])
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
    );
    println!("4. nine calls in {by_calls} processes");
    let by_growth = changes(
        &recycled_by_growth
            .map([(); 12])
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
    );
    println!(
        "   twelve calls that leak in more than one: {}",
        by_growth > 1
    );
}

/// Returns the number of processes that served, one after the other.
fn changes(pids: &[u32]) -> usize {
    1 + pids.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
