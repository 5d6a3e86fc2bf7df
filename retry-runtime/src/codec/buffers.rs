//! Buffer pools for large messages.
//!
//! Touching memory for the first time takes ten times as long as copying as much, because the kernel clears
//! it page by page. At this size the C library returns freed memory to the kernel, so each large message
//! would pay that price again. A pool instead retains buffers that only this library has seen, which are all
//! except those handed to user code. It retains them up to a limit, and only while a retain guard exists.

use std::mem::take;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::sys::{self, PerProcess};

/// From this size on, a message is large and has a buffer of its own.
pub(crate) const LARGE: usize = 64 * 1024;

/// Maximum number of bytes that each pool retains.
const KEPT: usize = 8 * 1024 * 1024;

/// Buffers into which values are encoded.
pub(crate) static ENCODED: BufferPool = BufferPool::new();

/// Buffers that arrived from the other side and whose content has been copied out.
pub(crate) static RECEIVED: BufferPool = BufferPool::new();

/// Returns whether either pool retains any buffer.
pub(crate) fn retains_any() -> bool {
    ENCODED.retains_any() || RECEIVED.retains_any()
}

/// Frees all retained buffers.
pub(crate) fn free() {
    ENCODED.free();
    RECEIVED.free();
}

/// Buffers of one kind. A buffer returns to the pool it was taken from; otherwise one pool would retain
/// buffers while the other one has to allocate.
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

    /// Takes a retained buffer for `bytes` bytes, if there is one of about that size.
    pub(crate) fn find(&self, bytes: usize) -> Option<Vec<u8>> {
        if bytes < LARGE {
            return None;
        }
        let mut pool = self.lock();
        // Prefer the buffer that came back last: it is in a cache.
        let fits = |room: &Vec<u8>| room.capacity() >= bytes && room.capacity() / 2 <= bytes;
        let found = pool.rooms.iter().rposition(fits)?;
        let room = pool.rooms.remove(found);
        pool.kept -= room.capacity();
        Some(room)
    }

    /// Takes or allocates a buffer for `bytes` bytes.
    pub(crate) fn room(&self, bytes: usize) -> Vec<u8> {
        self.find(bytes).unwrap_or_else(|| {
            let mut room = Vec::with_capacity(bytes);
            sys::fills(room.spare_capacity_mut());
            room
        })
    }

    /// Retains a buffer that is no longer needed, or frees it.
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

    /// Retains the buffer of a message, unless something else still refers to it.
    pub(crate) fn take_back_message(&self, message: Bytes) {
        if message.len() >= LARGE && message.is_unique() {
            self.take_back(message.into());
        }
    }

    /// Wraps a buffer as `Bytes` that return it to the pool when the last reference is dropped.
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

    fn add_guards(&self, change: isize) {
        let mut pool = self.lock();
        pool.guards = pool.guards.saturating_add_signed(change);
        let none = pool.guards == 0;
        drop(pool);
        if none {
            self.free();
        }
    }
}

/// A guard: while any exists, the pools retain buffers.
pub(crate) struct RetainGuard(());

impl RetainGuard {
    pub(crate) fn new() -> Self {
        ENCODED.add_guards(1);
        RECEIVED.add_guards(1);
        Self(())
    }
}

impl Drop for RetainGuard {
    fn drop(&mut self) {
        ENCODED.add_guards(-1);
        RECEIVED.add_guards(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> &'static BufferPool {
        let pool = Box::leak(Box::new(BufferPool::new()));
        pool.add_guards(1);
        pool
    }

    #[test]
    fn returned_buffers_are_reused() {
        let pool = kept();
        let mut room = pool.room(LARGE);
        room.resize(LARGE, 7);
        let at = room.as_ptr();
        let lent = pool.lend(room);
        let part = lent.slice(1..);
        drop(lent);
        assert!(!pool.retains_any(), "a part of it is still referred to");
        drop(part);
        let again = pool.find(LARGE).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        let message = Bytes::from(vec![7; LARGE]);
        let at = message.as_ptr();
        let clone = message.clone();
        pool.take_back_message(message);
        assert!(!pool.retains_any(), "another reference is left");
        pool.take_back_message(clone);
        let again = pool.room(LARGE);
        assert_eq!(again.as_ptr(), at);
    }

    #[test]
    fn retained_bytes_are_limited_and_need_a_guard() {
        let pool = kept();
        for _ in 0..10 {
            pool.take_back(Vec::with_capacity(KEPT / 4));
        }
        assert_eq!(pool.lock().kept, KEPT);
        assert_eq!(pool.lock().rooms.len(), 4);
        pool.add_guards(-1);
        assert!(!pool.retains_any());
        pool.take_back(Vec::with_capacity(LARGE));
        assert!(!pool.retains_any());
    }

    #[test]
    fn a_reused_buffer_has_about_the_requested_size() {
        let pool = kept();
        pool.take_back(Vec::with_capacity(8 * LARGE));
        pool.take_back(Vec::with_capacity(LARGE - 1));
        assert!(pool.find(LARGE).is_none(), "most of it would be wasted");
        assert!(pool.find(9 * LARGE).is_none());
        assert!(pool.find(7 * LARGE).is_some());
        assert!(!pool.retains_any());
    }
}
