//! Faults that a test plans. Without the feature `testing` there are none.

/// The message of a set-up that a test made fail.
pub(crate) const MESSAGE: &str = "a fault of the test kit";

#[cfg(not(feature = "testing"))]
mod absent {
    /// Returns whether any fault is planned.
    pub(crate) fn are_planned() -> bool {
        false
    }

    /// Returns the fault code for an attempt: always 0, for none.
    pub(crate) fn pick(_: &'static str, _: u32, _: Option<u64>) -> u16 {
        0
    }

    pub(crate) fn pick_start_fault(_: &'static str) -> bool {
        false
    }

    pub(crate) fn is_clock_paused() -> bool {
        false
    }
}

#[cfg(not(feature = "testing"))]
pub(crate) use absent::{are_planned, is_clock_paused, pick, pick_start_fault};
#[cfg(feature = "testing")]
pub(crate) use testing::{are_planned, is_clock_paused, pick, pick_start_fault};

#[cfg(feature = "testing")]
#[path = "testing.rs"]
pub mod testing;
