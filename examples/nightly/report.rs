//! Makes the report and the trace of a run from its event log, also of a run that was killed.
//!
//! ```text
//! cargo run --package retry-example-nightly --example report -- --log nightly.jsonl
//! ```

use std::path::PathBuf;

use retry_runtime::{local_entrypoint, report};

/// Writes a report and a trace beside an event log.
#[local_entrypoint]
fn main(
    /// The file that a program has written because of RETRY_EVENTS.
    log: PathBuf,
) -> Result<(), String> {
    let (page, trace) = (log.with_extension("html"), log.with_extension("trace.json"));
    report::from_log(&log, &page).map_err(|error| format!("{}: {error}", log.display()))?;
    report::trace_from_log(&log, &trace).map_err(|error| format!("{}: {error}", log.display()))?;
    println!("{}\n{}", page.display(), trace.display());
    Ok(())
}
