//! The ways to end a call, and how a running function learns of it.
//!
//! `cargo run --example cancellation`

use std::thread::sleep;
use std::time::{Duration, Instant};

use retry_runtime::events::{EventKind, Events};
use retry_runtime::{CallError, function, local_entrypoint};

/// Counts until it is cancelled.
#[function(max_workers = 1, grace = "5s")]
fn count(name: String) -> u64 {
    let token = retry_runtime::current().expect("runs in a worker").token();
    println!("{name} counts");
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
    println!("sleeps");
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

/// Waits until a worker has written this line.
async fn written(events: &mut Events, expected: &str) {
    while let Some(event) = events.recv().await {
        if matches!(&event.kind, EventKind::Output { line, .. } if line == expected) {
            return;
        }
    }
}

/// Ends calls in all available ways.
#[local_entrypoint]
async fn main() {
    let mut events = retry_runtime::events();

    println!("1. cancel a call that was spawned");
    let call = count.spawn("a counter".to_owned());
    written(&mut events, "a counter counts").await;
    call.cancel();
    match call.await {
        Err(CallError::Cancelled(cancelled, _)) => println!("   cancelled {cancelled}"),
        other => println!("   unexpected: {other:?}"),
    }

    println!("2. drop a call that is awaited");
    let call = count.remote("another counter".to_owned());
    tokio::select! {
        result = call => println!("   unexpected: {result:?}"),
        () = written(&mut events, "another counter counts") => println!("   given up"),
    }

    println!("3. drop a handle: that only detaches its call");
    drop(detached.spawn());

    println!("4. end a map at its first error");
    let all = positive.map([1, 2, -3].into_iter().chain(4..100_000));
    match all.try_collect::<Vec<_>>().await {
        Err(CallError::Function(error, _)) => println!("   {error}, the rest is cancelled"),
        other => println!("   unexpected: {other:?}"),
    }

    println!("5. what does not listen is killed");
    let call = deaf.spawn();
    written(&mut events, "sleeps").await;
    let begun = Instant::now();
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
