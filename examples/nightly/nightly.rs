//! A run over many inputs, some of which fail, crash, hang or are flaky.
//!
//! ```text
//! RETRY_REPORT=nightly.html cargo run --release --package retry-example-nightly --example nightly -- --pages 10000
//! ```

use std::time::{Duration, Instant};

use retry_runtime::{CallError, current, function, local_entrypoint};

#[derive(Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
enum PageError {
    #[error("page {0} is missing")]
    Missing(u64),
    #[error("the printer is busy")]
    Busy,
}

/// Renders a page. What happens depends on its number.
#[function(
    retries(max_retries = 2, initial_delay = "20ms", backoff_coefficient = 2.0),
    retry_if = |error| matches!(error, PageError::Busy),
    timeout = "300ms"
)]
fn render(page: u64) -> Result<u64, PageError> {
    let attempt = current().map_or(1, |call| call.attempt());
    match page % 1_000 {
        107 | 507 => return Err(PageError::Missing(page)),
        211 | 411 | 811 if attempt == 1 => return Err(PageError::Busy),
        313 => {
            eprintln!("the font table of page {page} is broken");
            std::process::abort();
        }
        417 if attempt == 1 => std::process::abort(),
        521 if page > 5_000 => std::thread::sleep(Duration::from_secs(60)),
        _ => {}
    }
    // The work itself: half a millisecond, more for some pages.
    let until = Instant::now() + Duration::from_micros(500 + page % 97 * 10);
    let mut sum = page;
    while Instant::now() < until {
        sum = sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    std::hint::black_box(sum);
    Ok(page * 3)
}

#[local_entrypoint]
fn main(pages: u64) {
    let (mut size, mut missing, mut others) = (0, 0, 0);
    for result in render.map(0..pages) {
        match result {
            Ok(bytes) => size += bytes,
            Err(CallError::Function(PageError::Missing(_), _)) => missing += 1,
            Err(_) => others += 1,
        }
    }
    println!("{size} bytes, {missing} pages are missing, {others} failed");
}
