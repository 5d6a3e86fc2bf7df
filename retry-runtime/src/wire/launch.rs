//! How a worker process is started: what parent and child know of each other before they talk.

use std::ffi::OsString;
use std::sync::OnceLock;

use super::DEPTH_VARIABLE;
use crate::sys::PerProcess;

/// How a worker process reaches the point where it turns into one.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// By running `main` from the start.
    Main,
    /// By running the test of this name.
    Test(String),
}

static ENTRY: OnceLock<Entry> = OnceLock::new();

/// What a worker that runs inside of a test harness prints before anything of the test's own.
pub(crate) const MARK: &[u8] = b"\x1e\n";

/// Whether workers print the mark.
pub(crate) fn marks_output() -> bool {
    matches!(ENTRY.get(), Some(Entry::Test(_)))
}

/// Notes how the workers of this process reach their entry.
pub(crate) fn enter(entry: Entry) {
    let _ = ENTRY.set(entry);
}

/// The arguments for a worker of this process, or `None` if it may not start workers.
pub(crate) fn worker_arguments() -> Option<Vec<OsString>> {
    Some(match ENTRY.get()? {
        Entry::Main => Vec::new(),
        Entry::Test(name) => ["--exact", name, "--nocapture", "--include-ignored"]
            .map(OsString::from)
            .into(),
    })
}

/// How deeply the calls of this process are nested: 0 outside of workers.
pub(crate) fn depth() -> u32 {
    static DEPTH: PerProcess<u32> = PerProcess::new();
    *DEPTH.get_or_init(|| {
        std::env::var(DEPTH_VARIABLE)
            .ok()
            .and_then(|depth| depth.parse().ok())
            .unwrap_or(0)
    })
}
