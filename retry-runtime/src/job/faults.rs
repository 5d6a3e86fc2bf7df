//! Faults that a test wants. Without the feature `testing` there are none.

/// What a set-up says that a test let fail.
pub(crate) const MESSAGE: &str = "a fault of the test kit";

#[cfg(not(feature = "testing"))]
mod absent {
    /// Whether anything is to go wrong.
    pub(crate) fn are_planned() -> bool {
        false
    }

    /// What is to go wrong with an attempt: nothing.
    pub(crate) fn pick(_: &'static str, _: u32, _: Option<u64>) -> u16 {
        0
    }

    pub(crate) fn start_fails(_: &'static str) -> bool {
        false
    }

    pub(crate) fn is_clock_paused() -> bool {
        false
    }
}

#[cfg(not(feature = "testing"))]
pub(crate) use absent::{are_planned, is_clock_paused, pick, start_fails};
#[cfg(feature = "testing")]
pub(crate) use testing::{are_planned, is_clock_paused, pick, start_fails};

#[cfg(feature = "testing")]
#[path = "testing.rs"]
pub mod testing;
