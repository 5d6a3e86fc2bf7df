//! Makes from event logs what a run could have written itself.

use std::io;
use std::path::Path;

#[cfg(feature = "report")]
use super::report;
use super::trace;

/// Writes the [report](crate::runtime::Builder::report_file) of the latest run in an
/// [event log](crate::events::Log), also of one that was killed or still goes on.
///
/// An existing file is replaced. The report has no settings, which are not in the log.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("offline-report-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let (log, report) = (folder.join("run.jsonl"), folder.join("report.html"));
/// # std::fs::write(&log, concat!(
/// #     r#"{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1764425191.5,"elapsed":0.5,"event":"started","function":"app::resize","call":7,"attempt":1,"worker":1,"pid":77,"queued":0.1}"#, "\n",
/// #     r#"{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1764425192.5,"elapsed":1.5,"event":"fini"#,
/// # ))?;
/// retry_runtime::report::from_log(&log, &report)?;
/// # let page = std::fs::read_to_string(&report)?;
/// # assert!(page.contains("begun <span id=\"begun\">2025-11-29 14:06:31 UTC</span>"));
/// # assert!(page.contains("Calls that workers had at the end"));
/// # std::fs::remove_dir_all(folder)
/// # }
/// ```
///
/// # Errors
///
/// Returns the operating system's error if a file cannot be read or written, and an error of the kind
/// [`InvalidData`](io::ErrorKind::InvalidData) if the log has no events or a line that is not one. A last line
/// that was not written to its end is no error.
#[cfg(feature = "report")]
pub fn from_log(log: impl AsRef<Path>, report: impl AsRef<Path>) -> io::Result<()> {
    report::from_log(log.as_ref(), report.as_ref())
}

/// Writes the [trace](crate::runtime::Builder::trace_file) of the latest run in an
/// [event log](crate::events::Log), also of one that was killed or still goes on.
///
/// An existing file is replaced.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("offline-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let (log, trace) = (folder.join("run.jsonl"), folder.join("trace.json"));
/// # std::fs::write(&log, concat!(
/// #     r#"{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1764425191.5,"elapsed":0.5,"event":"started","function":"app::resize","call":7,"attempt":1,"worker":1,"pid":77,"queued":0.1}"#, "\n",
/// #     r#"{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1764425192.5,"elapsed":1.5,"event":"finished","function":"app::resize","call":7,"attempt":1,"worker":1,"pid":77,"outcome":"succeeded","ran":0.9}"#, "\n",
/// # ))?;
/// retry_runtime::report::trace_from_log(&log, &trace)?;
/// # assert!(std::fs::read_to_string(&trace)?.contains(r#""ph":"X","ts":500000.0,"dur":900000.0"#));
/// # std::fs::remove_dir_all(folder)
/// # }
/// ```
///
/// # Errors
///
/// Returns the operating system's error if a file cannot be read or written, and an error of the kind
/// [`InvalidData`](io::ErrorKind::InvalidData) if the log has no events or a line that is not one. A last line
/// that was not written to its end is no error.
pub fn trace_from_log(log: impl AsRef<Path>, trace: impl AsRef<Path>) -> io::Result<()> {
    trace::from_log(log.as_ref(), trace.as_ref())
}
