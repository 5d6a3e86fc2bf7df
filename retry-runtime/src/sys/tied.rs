//! Values that stay on their thread.

use std::mem::ManuallyDrop;
use std::thread::{self, ThreadId};

/// A value that stays on the thread that made it, inside something that may be sent to another thread.
pub(crate) struct Tied<T> {
    thread: ThreadId,
    value: ManuallyDrop<T>,
}

// SAFETY: the value is used and dropped on its own thread only: `get_mut` and `drop` compare the thread.
unsafe impl<T> Send for Tied<T> {}

impl<T> Tied<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            thread: thread::current().id(),
            value: ManuallyDrop::new(value),
        }
    }

    /// Returns the value, or `None` on another thread.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        (self.thread == thread::current().id()).then(|| &mut *self.value)
    }
}

impl<T> Drop for Tied<T> {
    /// Drops the value; leaks it on another thread.
    fn drop(&mut self) {
        if self.thread == thread::current().id() {
            // SAFETY: it is dropped nowhere else, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}
