//! The callers whose calls take turns.

use std::sync::atomic::{AtomicU32, Ordering};

use super::capture;

/// One of those whose calls take turns: a map, or a thread that makes single calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller(pub(crate) u32);

static NEXT_CALLER: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static THREAD: Caller = Caller::new();
}

impl Caller {
    /// Returns a caller of its own, until four billion others have come.
    pub(crate) fn new() -> Self {
        let new = Self(NEXT_CALLER.fetch_add(1, Ordering::Relaxed));
        if capture::is_on() {
            capture::made_here(new.0);
        }
        new
    }

    /// Returns the caller that this thread is.
    pub(crate) fn thread() -> Self {
        THREAD.try_with(|caller| *caller).unwrap_or(Self(0))
    }

    /// Returns what stands here for a caller of a worker.
    pub(crate) fn of_worker(worker: u64, caller: u32) -> Self {
        // Another one that happens to get the same number shares its turns, and no more.
        let hash = (worker << 32 | u64::from(caller)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((hash >> 32) as u32)
    }
}
