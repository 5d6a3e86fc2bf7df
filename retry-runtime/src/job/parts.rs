//! Splits chunks of inputs, and their values, into parts.

use super::caller::Caller;
use super::{Loan, ShowInput};

/// A number of inputs or values that can be processed in parts.
pub(crate) trait Parts: Sized {
    /// Returns the number of elements, at least one.
    fn count(&self) -> u32;

    /// Splits off the first `count` elements, fewer than there are.
    fn split_front(&mut self, count: u32) -> Self;

    /// Returns the position of the first input in its map; `None` for a single call.
    fn index(&self) -> Option<u64> {
        None
    }

    /// Returns the arguments as text, if there is only one input.
    fn show(&self, _: ShowInput) -> Option<String> {
        None
    }

    /// Returns the memory in which the arguments lie, to be kept until the worker has answered.
    fn loan(&self) -> Loan {
        Loan::default()
    }

    /// Returns whether there is room for the results.
    fn has_room(&self) -> bool {
        true
    }

    /// Returns the caller that made the call; by default the same for all.
    fn caller(&self) -> Caller {
        Caller(0)
    }

    /// Detaches the elements from the buffer they are part of, because they will be kept for a while.
    fn detach(&mut self) {}
}
