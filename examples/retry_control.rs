//! Control over which failures are retried, and when.
//!
//! `cargo run --example retry_control`

use std::time::{Duration, Instant};

use retry_runtime::{Options, Retries, Retry, Retryable, function, local_entrypoint};
use serde::{Deserialize, Serialize};

// ----------------------------------------------------------------------------------- the schedule

/// The compiler checks the policy: a cap below the first delay would not compile.
const PATIENT: Retries = Retries::exponential(6)
    .initial_delay(Duration::from_millis(100))
    .max_delay(Duration::from_secs(1));

// ----------------------------------------------------------------------- the function decides

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum ReadError {
    #[error("the file is being written")]
    Busy,
    #[error("the file is not ours")]
    Forbidden,
}

#[function(retries = Retries::fixed(3, Duration::ZERO), retry_if = may_pass)]
fn read(forbidden: bool) -> Result<(), ReadError> {
    Err(if forbidden {
        ReadError::Forbidden
    } else {
        ReadError::Busy
    })
}

fn may_pass(error: &ReadError) -> bool {
    *error == ReadError::Busy
}

// -------------------------------------------------------------------------- the error decides

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum FetchError {
    #[error("not found")]
    NotFound,
    #[error("busy, come back in {0:?}")]
    Busy(Duration),
    #[error("connection reset")]
    Reset,
}

impl Retryable for FetchError {
    fn retry(&self) -> Retry {
        match self {
            Self::NotFound => Retry::No,
            Self::Busy(pause) => Retry::After(*pause),
            Self::Reset => Retry::Default,
        }
    }
}

#[function(retries = Retries::fixed(2, Duration::ZERO))]
fn fetch(page: &str) -> Result<(), FetchError> {
    Err(match page {
        "missing" => FetchError::NotFound,
        "busy" => FetchError::Busy(Duration::from_millis(200)),
        _ => FetchError::Reset,
    })
}

/// Shows how often and when each call is tried.
#[local_entrypoint]
fn main() {
    println!(
        "1. a schedule: {:?}",
        PATIENT.schedule().collect::<Vec<_>>()
    );

    println!("2. retry_if");
    for forbidden in [false, true] {
        if let Err(error) = read.remote(forbidden).wait() {
            println!("   {} x: {error}", error.context().attempts().len());
        }
    }

    println!("3. Retryable");
    for page in ["missing", "busy", "other"] {
        let begun = Instant::now();
        if let Err(error) = fetch.remote(page).wait() {
            println!(
                "   {} x, with pauses: {}: {error}",
                error.context().attempts().len(),
                begun.elapsed() >= Duration::from_millis(400)
            );
        }
    }

    println!("4. at the call");
    let once = fetch.with_options(Options::new().no_retries());
    if let Err(error) = once.remote("other").wait() {
        println!("   {} x: {error}", error.context().attempts().len());
    }
    let late = fetch
        .remote("other")
        .retries(PATIENT)
        .deadline(Duration::from_millis(250));
    if let Err(error) = late.wait() {
        println!("   {} x: {error}", error.context().attempts().len());
    }
}
