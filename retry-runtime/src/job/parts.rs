//! What can be split into parts: the inputs of a chunk, and their values.

use super::caller::Caller;
use crate::codec::payload::Payload;

/// What can be handed on in parts: so many inputs, or so many values.
pub(crate) trait Parts: Sized {
    /// How many there are, at least one.
    fn count(&self) -> u32;

    /// Takes the first ones off; some are to be left.
    fn split_front(&mut self, count: u32) -> Self;

    /// Returns the index of the first one in its map; `None` for a single call.
    fn index(&self) -> Option<u64> {
        None
    }

    /// Returns whether there is room for the results.
    fn has_room(&self) -> bool {
        true
    }

    /// Returns who has made the call; by default that is always the same.
    fn caller(&self) -> Caller {
        Caller(0)
    }

    /// It will be kept for a while: what it was part of is not to be kept with it.
    fn detach(&mut self) {}
}

impl Parts for Payload {
    fn count(&self) -> u32 {
        Self::count(self)
    }

    fn split_front(&mut self, count: u32) -> Self {
        Self::split_front(self, count)
    }

    fn detach(&mut self) {
        Self::detach(self);
    }
}
