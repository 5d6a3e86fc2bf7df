//! Memory of large messages that is used again.
//!
//! To touch memory for the first time takes ten times as long as to copy as much: the kernel clears
//! page after page. The C library gives back what is freed at this size, so that each large message
//! would pay for that again. What this program alone has seen of a message, which is all but what a
//! user is handed, is kept for the next one instead: up to a limit, and while somebody keeps it.

use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::sys::{self, PerProcess};

/// From this size on a message is large: then it has memory of its own.
pub(crate) const LARGE: usize = 64 * 1024;

/// How many bytes are kept in each pool.
const KEPT: usize = 8 * 1024 * 1024;

/// What values were encoded into.
pub(crate) static ENCODED: BufferPool = BufferPool::new();

/// What came from the other side and was copied out of.
pub(crate) static RECEIVED: BufferPool = BufferPool::new();

/// Whether anything is kept.
pub(crate) fn retains_any() -> bool {
    ENCODED.retains_any() || RECEIVED.retains_any()
}

/// Frees what is kept.
pub(crate) fn free() {
    ENCODED.free();
    RECEIVED.free();
}

/// Memory of one kind: what is taken from a pool comes back to it, or else it would be the memory of
/// one kind that is kept while that of another is asked for.
pub(crate) struct BufferPool(PerProcess<Mutex<Rooms>>);

#[derive(Default)]
struct Rooms {
    guards: usize,
    kept: usize,
    rooms: Vec<Vec<u8>>,
}

impl BufferPool {
    const fn new() -> Self {
        Self(PerProcess::new())
    }

    fn lock(&self) -> MutexGuard<'_, Rooms> {
        let rooms = self.0.get_or_init(Mutex::default);
        rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for so many bytes that was kept, if there is any of about that size.
    pub(crate) fn find(&self, bytes: usize) -> Option<Vec<u8>> {
        if bytes < LARGE {
            return None;
        }
        let mut pool = self.lock();
        // What came back last is in a cache.
        let fits = |room: &Vec<u8>| room.capacity() >= bytes && room.capacity() / 2 <= bytes;
        let found = pool.rooms.iter().rposition(fits)?;
        let room = pool.rooms.remove(found);
        pool.kept -= room.capacity();
        Some(room)
    }

    /// Room for so many bytes.
    pub(crate) fn room(&self, bytes: usize) -> Vec<u8> {
        self.find(bytes).unwrap_or_else(|| {
            let mut room = Vec::with_capacity(bytes);
            sys::fills(room.spare_capacity_mut());
            room
        })
    }

    /// Keeps the room of what is not needed any more, or frees it.
    pub(crate) fn take_back(&self, mut bytes: Vec<u8>) {
        let size = bytes.capacity();
        if size < LARGE {
            return;
        }
        bytes.clear();
        let mut pool = self.lock();
        if pool.guards > 0 && pool.kept + size <= KEPT {
            pool.kept += size;
            pool.rooms.push(bytes);
        }
    }

    /// The same of a message, unless somebody else has it as well.
    pub(crate) fn take_back_message(&self, message: Bytes) {
        if message.len() >= LARGE && message.is_unique() {
            self.take_back(message.into());
        }
    }

    /// Bytes whose room comes back once nobody has them any more.
    pub(crate) fn lend(&'static self, bytes: Vec<u8>) -> Bytes {
        struct Pooled(Vec<u8>, &'static BufferPool);

        impl AsRef<[u8]> for Pooled {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl Drop for Pooled {
            fn drop(&mut self) {
                self.1.take_back(take(&mut self.0));
            }
        }

        if bytes.capacity() < LARGE {
            return bytes.into();
        }
        Bytes::from_owner(Pooled(bytes, self))
    }

    fn retains_any(&self) -> bool {
        self.lock().kept > 0
    }

    fn free(&self) {
        let mut pool = self.lock();
        pool.kept = 0;
        let rooms = take(&mut pool.rooms);
        drop(pool);
        drop(rooms);
    }

    fn add_keepers(&self, change: isize) {
        let mut pool = self.lock();
        pool.guards = pool.guards.saturating_add_signed(change);
        let none = pool.guards == 0;
        drop(pool);
        if none {
            self.free();
        }
    }
}

/// As long as this is there memory is kept.
pub(crate) struct RetainGuard(());

impl RetainGuard {
    pub(crate) fn new() -> Self {
        ENCODED.add_keepers(1);
        RECEIVED.add_keepers(1);
        Self(())
    }
}

impl Drop for RetainGuard {
    fn drop(&mut self) {
        ENCODED.add_keepers(-1);
        RECEIVED.add_keepers(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> &'static BufferPool {
        let pool = Box::leak(Box::new(BufferPool::new()));
        pool.add_keepers(1);
        pool
    }

    #[test]
    fn room_that_comes_back_is_used_again() {
        let pool = kept();
        let mut room = pool.room(LARGE);
        room.resize(LARGE, 7);
        let at = room.as_ptr();
        let lent = pool.lend(room);
        let part = lent.slice(1..);
        drop(lent);
        assert!(!pool.retains_any(), "somebody has a part of it");
        drop(part);
        let again = pool.find(LARGE).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        let message = Bytes::from(vec![7; LARGE]);
        let at = message.as_ptr();
        let clone = message.clone();
        pool.take_back_message(message);
        assert!(!pool.retains_any(), "somebody else has it as well");
        pool.take_back_message(clone);
        let again = pool.room(LARGE);
        assert_eq!(again.as_ptr(), at);
    }

    #[test]
    fn no_more_is_kept_than_the_limit_and_nothing_for_nobody() {
        let pool = kept();
        for _ in 0..10 {
            pool.take_back(Vec::with_capacity(KEPT / 4));
        }
        assert_eq!(pool.lock().kept, KEPT);
        assert_eq!(pool.lock().rooms.len(), 4);
        pool.add_keepers(-1);
        assert!(!pool.retains_any());
        pool.take_back(Vec::with_capacity(LARGE));
        assert!(!pool.retains_any());
    }

    #[test]
    fn room_is_of_about_the_size_that_is_asked_for() {
        let pool = kept();
        pool.take_back(Vec::with_capacity(8 * LARGE));
        pool.take_back(Vec::with_capacity(LARGE - 1));
        assert!(pool.find(LARGE).is_none(), "most of it would be wasted");
        assert!(pool.find(9 * LARGE).is_none());
        assert!(pool.find(7 * LARGE).is_some());
        assert!(!pool.retains_any());
    }
}
