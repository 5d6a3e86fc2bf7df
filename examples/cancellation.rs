//! The ways to end a call, and how a running function learns of it.
//!
//! `cargo run --example cancellation`

use std::thread::sleep;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, function, local_entrypoint};

/// Counts until it is cancelled.
#[function(max_workers = 1, grace = "5s")]
fn count(name: String) -> u64 {
    let token = retry_runtime::current().expect("runs in a worker").token();
    let mut counted = 0;
    while !token.is_cancelled() {
        counted += 1;
        sleep(Duration::from_millis(1));
    }
    println!("{name} was asked to stop");
    counted
}

/// Does not check its token and has no grace period, so its worker is killed.
#[function]
fn deaf() {
    sleep(Duration::from_secs(3600));
}

/// Runs to the end even if the handle of the call is dropped.
#[function]
fn detached() {
    println!("ran, although nobody waits for it");
}

#[function]
fn positive(number: i64) -> Result<i64, String> {
    if number < 0 {
        return Err(format!("{number} is negative"));
    }
    Ok(number)
}

/// An async function is dropped at its `await`; the worker continues.
#[function(concurrency = 8)]
async fn waits(milliseconds: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    milliseconds
}

/// Ends calls in all available ways.
#[local_entrypoint]
async fn main() {
    println!("1. cancel a call that was spawned");
    let call = count.spawn("a counter".to_owned());
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.cancel();
    match call.await {
        Err(CallError::Cancelled(cancelled, _)) => println!("   cancelled {cancelled}"),
        other => println!("   unexpected: {other:?}"),
    }

    println!("2. drop a call that is awaited");
    let call = count.remote("another counter".to_owned());
    let given_up = tokio::time::timeout(Duration::from_millis(300), call).await;
    println!("   given up: {}", given_up.is_err());

    println!("3. drop a handle: that only detaches its call");
    drop(detached.spawn());

    println!("4. end a map at its first error");
    let all = positive.map([1, 2, -3].into_iter().chain(4..100_000));
    match all.try_collect::<Vec<_>>().await {
        Err(CallError::Function(error, _)) => println!("   {error}, the rest is cancelled"),
        other => println!("   unexpected: {other:?}"),
    }

    println!("5. what does not listen is killed");
    let begun = Instant::now();
    let call = deaf.spawn();
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.cancel();
    assert!(matches!(call.await, Err(CallError::Cancelled(..))));
    println!("   at once: {}", begun.elapsed() < Duration::from_secs(3));

    println!("6. one of several in an async worker");
    let long = waits.spawn(3_600_000);
    let short = waits.spawn(300);
    long.cancel();
    assert!(matches!(long.await, Err(CallError::Cancelled(..))));
    println!("   the other one goes on: {:?}", short.await.ok());
}
