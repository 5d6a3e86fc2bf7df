//! Marks the parts of a value that travel as handles, whose content other code carries. Only this codec may encode
//! and decode them: elsewhere a handle would arrive without its content.

use std::cell::Cell;

/// The name of the newtype struct as which a handle is serialised.
pub(crate) const HANDLE: &str = "retry_runtime::Shared";

thread_local! {
    static IS_WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread is encoding or decoding a handle.
pub(crate) fn is_within() -> bool {
    IS_WITHIN.get()
}

/// Marks the content of the newtype struct with this name as a handle, until the guard is dropped, if it is one.
#[inline]
pub(super) fn enter(name: &str) -> Option<Guard> {
    (name == HANDLE).then(Guard::new)
}

pub(super) struct Guard(());

impl Guard {
    #[cold]
    fn new() -> Self {
        IS_WITHIN.set(true);
        Self(())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        IS_WITHIN.set(false);
    }
}
