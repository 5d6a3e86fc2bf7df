//! Failing functions and dying processes, part by part.
//!
//! `cargo run --example failures_and_retries`

use std::path::PathBuf;
use std::time::Instant;

use retry_runtime::{CallError, Retries, function, local_entrypoint};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

// ------------------------------------------------------------------------------------ the errors

/// An error type of this program. It crosses the process boundary unchanged, so that callers can match it.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum SquareError {
    #[error("{0} is odd, and odd numbers are refused")]
    Odd(u64),
}

#[function]
fn square_of_even(number: u64) -> Result<u64, SquareError> {
    if number % 2 == 1 {
        return Err(SquareError::Odd(number));
    }
    Ok(number * number)
}

// ----------------------------------------------------------------------------------- the retries

#[function(retries(max_retries = 3, initial_delay = "10ms"))]
fn flaky() -> Result<u32, String> {
    let attempt = retry_runtime::current().map_or(1, |call| call.attempt());
    if attempt < 3 {
        return Err(format!("attempt {attempt} is not good enough"));
    }
    Ok(attempt)
}

const BACKOFF: Retries = Retries::exponential(5)
    .initial_delay(std::time::Duration::from_millis(200))
    .max_delay(std::time::Duration::from_secs(1));

#[function(retries = BACKOFF)]
fn never_good() -> Result<(), String> {
    Err("never good enough".to_owned())
}

// ----------------------------------------------------------------------------------- the crashes

/// Loads a file that every call needs, once per worker; here the file is missing.
fn load_model() -> Vec<u8> {
    eprintln!("load_model: opening /models/missing.bin");
    std::process::exit(3);
}

#[function(setup = load_model)]
fn predict(model: &Vec<u8>, input: u64) -> u64 {
    model.len() as u64 + input
}

/// Dies in the given way if its flag file does not exist yet; succeeds after that.
#[function]
fn dies_once(how: String, flag: PathBuf) -> String {
    if !flag.exists() {
        std::fs::write(&flag, "was here").expect("the temporary directory can be written to");
        die(&how);
    }
    format!("survived {how}")
}

fn die(how: &str) -> ! {
    let signal = match how {
        "SIGKILL" => Signal::KILL,
        "SIGSEGV" => Signal::SEGV,
        "abort" => std::process::abort(),
        _ => std::process::exit(0),
    };
    // Repeat the signal: Rust's own handler of SIGSEGV lets the first one pass.
    loop {
        kill_process(getpid(), signal).expect("it is our own process");
    }
}

#[function]
fn always_dies(input: u64) -> u64 {
    eprintln!("always_dies: input {input} hit the bug");
    std::process::abort()
}

// -------------------------------------------------------------------------------------- the page

/// Failures and retries, part by part.
#[local_entrypoint]
fn main() {
    println!("1. A map over 1, 2, 3 whose function fails for odd numbers");
    for result in square_of_even.map([1, 2, 3]) {
        match result {
            Ok(square) => println!("   got {square}"),
            Err(CallError::Function(SquareError::Odd(number), _)) => {
                println!("   matched SquareError::Odd({number})");
            }
            Err(other) => println!("   {other}"),
        }
    }

    println!("2. A flaky function with three retries");
    match flaky.remote().wait() {
        Ok(attempt) => println!("   succeeded on attempt {attempt}"),
        Err(error) => println!("   {error}"),
    }

    println!("3. Exponential backoff: 200 ms, doubled, never longer than 1 s");
    if let Err(error) = never_good.remote().wait() {
        println!("   {error}");
        for pair in error.context().attempts().windows(2) {
            let gap = pair[1].start - (pair[0].start + pair[0].duration);
            println!(
                "   attempt {} came {:.1} s after attempt {} had failed",
                pair[1].number,
                gap.as_secs_f64(),
                pair[0].number
            );
        }
    }

    println!("4. A crash at start-up: likely a mistake, so it is reported at once");
    let before = Instant::now();
    if let Err(error) = predict.remote(1).wait() {
        println!("   {error}");
        println!("   after {:.1} s", before.elapsed().as_secs_f64());
    }

    println!("5. A crash after start-up: the worker is replaced, the input runs again");
    let directory = std::env::temp_dir().join(format!("failures-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written to");
    let ways = ["SIGKILL", "SIGSEGV", "abort", "exit 0"];
    let inputs = ways.map(|how| (how.to_owned(), directory.join(how)));
    for result in dies_once.map(inputs) {
        match result {
            Ok(text) => println!("   {text}"),
            Err(error) => println!("   {error}"),
        }
    }
    let _ = std::fs::remove_dir_all(&directory);

    println!("6. A function that always crashes is stopped by the crash limit");
    let (mut crashed, mut given_up) = (0, 0);
    let mut example = None;
    for result in always_dies.map(0..100) {
        match result {
            Err(CallError::Crashed(..)) => crashed += 1,
            Err(error @ CallError::CrashLimit(..)) => {
                given_up += 1;
                example.get_or_insert(error.to_string());
            }
            other => println!("   unexpected: {other:?}"),
        }
    }
    println!("   {crashed} inputs crashed for good, {given_up} were failed by the limit");
    if let Some(example) = example {
        println!("   {example}");
    }
}
