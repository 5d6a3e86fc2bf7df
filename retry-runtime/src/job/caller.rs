//! Identifies the callers whose calls take turns.

use std::sync::atomic::{AtomicU32, Ordering};

use super::capture;

/// A caller whose calls take turns with those of others: a map, or a thread that makes single calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller(pub(crate) u32);

static NEXT_CALLER: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static THREAD: Caller = Caller::new();
}

impl Caller {
    /// Returns a new caller, unique until the counter wraps after four billion.
    pub(crate) fn new() -> Self {
        let new = Self(NEXT_CALLER.fetch_add(1, Ordering::Relaxed));
        if capture::is_on() {
            capture::register(new.0);
        }
        new
    }

    /// Returns the caller that stands for this thread.
    pub(crate) fn thread() -> Self {
        THREAD.try_with(|caller| *caller).unwrap_or(Self(0))
    }

    /// Returns the caller that stands for a caller in a worker.
    pub(crate) fn of_worker(worker: u64, caller: u32) -> Self {
        // A collision only makes two callers share their turns.
        let hash = (worker << 32 | u64::from(caller)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((hash >> 32) as u32)
    }
}
