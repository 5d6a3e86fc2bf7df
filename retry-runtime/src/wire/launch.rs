//! The launch of a worker process: what parent and child know about each other before they exchange messages.

use std::ffi::OsString;
use std::sync::OnceLock;

use super::DEPTH_VARIABLE;
use crate::sys::PerProcess;

/// The path by which a new process reaches the point where it becomes a worker.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Running `main` from the start.
    Main,
    /// Running the test of this name.
    Test(String),
}

static ENTRY: OnceLock<Entry> = OnceLock::new();

/// The mark that a worker inside a test harness prints before any output of the test itself.
pub(crate) const MARK: &[u8] = b"\x1e\n";

/// Returns whether workers print the mark.
pub(crate) fn marks_output() -> bool {
    matches!(ENTRY.get(), Some(Entry::Test(_)))
}

/// Records how the workers of this process reach their entry.
pub(crate) fn enter(entry: Entry) {
    let _ = ENTRY.set(entry);
}

/// Returns how the workers of this process reach their entry, if the process has passed the worker check.
pub(crate) fn entry() -> Option<&'static Entry> {
    ENTRY.get()
}

/// Returns the arguments for a worker of this process, or `None` if the process may not start workers.
pub(crate) fn worker_arguments() -> Option<Vec<OsString>> {
    Some(match ENTRY.get()? {
        Entry::Main => Vec::new(),
        Entry::Test(name) => ["--exact", name, "--nocapture", "--include-ignored"]
            .map(OsString::from)
            .into(),
    })
}

/// Returns the nesting depth of this process's calls: 0 outside of workers.
pub(crate) fn depth() -> u32 {
    static DEPTH: PerProcess<u32> = PerProcess::new();
    *DEPTH.get_or_init(|| {
        std::env::var(DEPTH_VARIABLE)
            .ok()
            .and_then(|depth| depth.parse().ok())
            .unwrap_or(0)
    })
}
