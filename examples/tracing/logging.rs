//! Logs of workers, which arrive in the program as text on standard error.
//!
//! Each line has the spans around it: those of the program, the call, the attempt, and those that the
//! function opens in its worker. `RUST_LOG=debug` shows more, in the program and in the workers.

use std::time::Duration;

use retry_runtime::logging::RecordedTime;
use retry_runtime::{Retries, current, function, local_entrypoint};
use tracing::level_filters::LevelFilter;
use tracing::{debug, info, info_span, warn};
use tracing_subscriber::EnvFilter;

/// Fails at its first attempt if the width is odd.
#[function(retries = Retries::fixed(2, Duration::from_millis(50)))]
fn resize(width: u32) -> Result<u32, String> {
    let _decoding = info_span!("decode", width).entered();
    debug!("reading the header");
    let attempt = current().map_or(1, |call| call.attempt());
    if width % 2 == 1 && attempt == 1 {
        warn!("the file is locked");
        return Err("locked by another program".to_owned());
    }
    info!(height = width * 3 / 4, "resized");
    Ok(width)
}

#[local_entrypoint]
fn main() {
    // Here and not in a function with `#[on_start]`, so that workers have no subscriber of their own.
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::INFO.into())
                .from_env_lossy(),
        )
        .with_timer(RecordedTime)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();

    let _album = info_span!("album", name = "holidays").entered();
    for result in resize.map([640, 801, 1024]) {
        match result {
            Ok(width) => println!("{width}"),
            Err(error) => println!("{error}"),
        }
    }
    info!("done");
}
