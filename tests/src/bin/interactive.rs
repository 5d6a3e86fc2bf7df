//! A program to be interrupted at a terminal.

use std::time::Duration;

use retry_runtime::{function, local_entrypoint};

#[function(max_workers = 1)]
fn sleeps(milliseconds: u64) -> u64 {
    println!("sleeping for {milliseconds} ms");
    std::thread::sleep(Duration::from_millis(milliseconds));
    println!("slept");
    milliseconds
}

/// Sleeps a few times, one after the other.
#[local_entrypoint]
fn main(
    /// How long each time.
    milliseconds: u64,
    /// How long the program itself takes to end.
    linger: u64,
) {
    for result in sleeps.map([milliseconds; 3]) {
        match result {
            Ok(slept) => println!("slept for {slept} ms"),
            Err(error) => println!("{error}"),
        }
    }
    std::thread::sleep(Duration::from_millis(linger));
}
