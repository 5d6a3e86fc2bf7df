//! Memory that is kept for further use.
//!
//! Touching memory for the first time takes ten times as long as copying as much, because the kernel clears
//! it page by page. At this size the C library returns freed memory to the kernel, so each large message
//! would pay that price again. Its memory is kept instead, where only this library has seen it or the user has dropped
//! it: up to a limit, and each buffer for a while after its last use.

use std::cell::Cell;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sys::{self, Mark};

/// From this size on, a message is large and has a buffer of its own.
pub(crate) const LARGE: usize = 64 * 1024;

/// The time for which free memory is kept after its last use.
pub(crate) const RETENTION: Duration = Duration::from_secs(2);

/// Up to this size, a message is encoded in memory that its thread uses again, and then copied: that is faster than
/// memory that grows with it.
const MAX_COPIED_BYTES: usize = 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes empty memory to encode a message in. User code that is called meanwhile may encode other ones.
#[inline]
pub(crate) fn take_scratch() -> Vec<u8> {
    // A thread that ends may have none any more.
    let scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    if scratch.capacity() == 0 {
        return Vec::with_capacity(MAX_COPIED_BYTES);
    }
    scratch
}

/// Returns the message that was encoded in such memory.
#[inline]
pub(crate) fn finish(mut message: Vec<u8>) -> Bytes {
    if message.capacity() > MAX_COPIED_BYTES {
        return message.into();
    }
    let short = Bytes::copy_from_slice(&message);
    message.clear();
    let _ = SCRATCH.try_with(|scratch| scratch.set(message));
    short
}

/// Free memory of up to a number of bytes.
struct Retained<T> {
    /// The last used one is at the end.
    free: Vec<Free<T>>,
    bytes: usize,
    limit: usize,
    /// Set while the caller of [`trim`](Self::trim) knows that it has to look again.
    is_watched: bool,
    /// Set while nothing is kept.
    is_paused: bool,
    is_closed: bool,
}

struct Free<T> {
    memory: T,
    size: usize,
    since: Instant,
}

impl<T> Retained<T> {
    const fn new(limit: usize) -> Self {
        Self {
            free: Vec::new(),
            bytes: 0,
            limit,
            is_watched: false,
            is_paused: false,
            is_closed: false,
        }
    }

    /// Takes the memory that was used last among that whose size fits: it is in a cache.
    fn take(&mut self, fits: impl Fn(usize) -> bool) -> Option<T> {
        let place = self.free.iter().rposition(|free| fits(free.size))?;
        let found = self.free.remove(place);
        self.bytes -= found.size;
        Some(found.memory)
    }

    /// Keeps memory for the next use. Returns what there is no room for, and whether the caller of
    /// [`trim`](Self::trim) has to be told.
    #[must_use]
    fn keep(&mut self, memory: T, size: usize, now: Instant) -> (Vec<T>, bool) {
        if size > self.limit || self.is_paused || self.is_closed {
            return (vec![memory], false);
        }
        let mut dropped = Vec::new();
        while self.bytes + size > self.limit {
            dropped.push(self.remove_oldest());
        }
        self.bytes += size;
        self.free.push(Free {
            memory,
            size,
            since: now,
        });
        (dropped, !std::mem::replace(&mut self.is_watched, true))
    }

    fn remove_oldest(&mut self) -> T {
        let oldest = self.free.remove(0);
        self.bytes -= oldest.size;
        oldest.memory
    }

    /// Returns what has not been used for a while, and when to look again, if that is needed before the caller is told.
    #[must_use]
    fn trim(&mut self, now: Instant) -> (Vec<T>, Option<Instant>) {
        let mut dropped = Vec::new();
        while let Some(oldest) = self.free.first() {
            let due = oldest.since + RETENTION;
            if now < due {
                return (dropped, Some(due));
            }
            dropped.push(self.remove_oldest());
        }
        self.is_watched = false;
        (dropped, None)
    }

    #[must_use]
    fn take_all(&mut self) -> Vec<T> {
        self.bytes = 0;
        let free = take(&mut self.free);
        free.into_iter().map(|free| free.memory).collect()
    }

    /// Sets whether nothing is kept for the time being. Returns what was kept then.
    #[must_use]
    fn pause(&mut self, is_paused: bool) -> Vec<T> {
        self.is_paused = is_paused;
        match is_paused {
            true => self.take_all(),
            false => Vec::new(),
        }
    }

    /// Keeps nothing from now on. Returns what was kept.
    #[must_use]
    fn close(&mut self) -> Vec<T> {
        self.is_closed = true;
        self.take_all()
    }
}

/// Free memory that several threads take and keep. Values are dropped after the lock is released.
pub(crate) struct Keeper<T> {
    retained: Mutex<Retained<T>>,
    /// Makes the caller of [`trim`](Self::trim) look when that is due.
    wake: Box<dyn Fn() + Send + Sync>,
    /// Identifies the process: the lock must not be taken in a fork.
    mark: Mark,
}

impl<T> Keeper<T> {
    /// Creates a keeper of up to `limit` bytes. `wake` must not take a lock that a caller of other methods holds.
    pub(crate) fn new(limit: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            retained: Mutex::new(Retained::new(limit)),
            wake: Box::new(wake),
            mark: Mark::current(),
        }
    }

    /// Returns whether this process was forked from the one whose memory this is: then nothing else may be called.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    fn lock(&self) -> MutexGuard<'_, Retained<T>> {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes the memory that was used last among that whose size fits.
    pub(crate) fn take(&self, fits: impl Fn(usize) -> bool) -> Option<T> {
        self.lock().take(fits)
    }

    /// Keeps memory for the next use, as far as the limit allows.
    pub(crate) fn keep(&self, memory: T, size: usize) {
        let (dropped, is_news) = self.lock().keep(memory, size, Instant::now());
        drop(dropped);
        if is_news {
            (self.wake)();
        }
    }

    /// Drops what was not used for a while. Returns when to look again, if that is needed before the next wake-up.
    pub(crate) fn trim(&self, now: Instant) -> Option<Instant> {
        let (dropped, due) = self.lock().trim(now);
        drop(dropped);
        due
    }

    /// Drops all that is free.
    pub(crate) fn drop_free(&self) {
        let dropped = self.lock().take_all();
        drop(dropped);
    }

    /// Sets whether nothing is kept for the time being, and what is free is dropped.
    pub(crate) fn pause(&self, is_paused: bool) {
        let dropped = self.lock().pause(is_paused);
        drop(dropped);
    }

    /// Drops all that is free, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        let dropped = self.lock().close();
        drop(dropped);
    }
}

/// Buffers on the heap, for large messages.
pub(crate) struct BufferPool(Keeper<Vec<u8>>);

impl BufferPool {
    /// Creates a pool; see [`Keeper::new`].
    pub(crate) fn new(limit: usize, wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Keeper::new(limit, wake)))
    }

    /// Returns the free buffers.
    pub(crate) fn keeper(&self) -> &Keeper<Vec<u8>> {
        &self.0
    }

    /// Takes a free buffer for `bytes` bytes, if there is one of about that size.
    pub(crate) fn find(&self, bytes: usize) -> Option<Vec<u8>> {
        if bytes < LARGE || self.0.is_foreign() {
            return None;
        }
        self.0.take(|size| size >= bytes && size / 2 <= bytes)
    }

    /// Takes or allocates a buffer for `bytes` bytes.
    pub(crate) fn room(&self, bytes: usize) -> Vec<u8> {
        self.find(bytes).unwrap_or_else(|| {
            let mut room = Vec::with_capacity(bytes);
            sys::fills(room.spare_capacity_mut());
            room
        })
    }

    /// Keeps a buffer that is no longer needed, or frees it.
    pub(crate) fn take_back(&self, mut bytes: Vec<u8>) {
        let size = bytes.capacity();
        if size < LARGE || self.0.is_foreign() {
            return;
        }
        bytes.clear();
        self.0.keep(bytes, size);
    }

    /// Keeps the buffer of a message, unless something else still refers to it.
    pub(crate) fn take_back_message(&self, message: Bytes) {
        if message.len() >= LARGE && message.is_unique() {
            self.take_back(message.into());
        }
    }

    /// Wraps a buffer as `Bytes` that return it to the pool when the last reference is dropped.
    pub(crate) fn lend(self: &Arc<Self>, bytes: Vec<u8>) -> Bytes {
        struct Pooled(Vec<u8>, Arc<BufferPool>);

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
        Bytes::from_owner(Pooled(bytes, Arc::clone(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8 * 1024 * 1024;

    fn pool() -> Arc<BufferPool> {
        BufferPool::new(LIMIT, || {})
    }

    fn is_empty(pool: &BufferPool) -> bool {
        pool.0.lock().free.is_empty()
    }

    #[test]
    fn returned_buffers_are_reused() {
        let pool = pool();
        let mut room = pool.room(LARGE);
        room.resize(LARGE, 7);
        let at = room.as_ptr();
        let lent = pool.lend(room);
        let part = lent.slice(1..);
        drop(lent);
        assert!(is_empty(&pool), "a part of it is still referred to");
        drop(part);
        let again = pool.find(LARGE).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        let message = Bytes::from(vec![7; LARGE]);
        let at = message.as_ptr();
        let clone = message.clone();
        pool.take_back_message(message);
        assert!(is_empty(&pool), "another reference is left");
        pool.take_back_message(clone);
        let again = pool.room(LARGE);
        assert_eq!(again.as_ptr(), at);
    }

    #[test]
    fn a_reused_buffer_has_about_the_requested_size() {
        let pool = pool();
        pool.take_back(Vec::with_capacity(8 * LARGE));
        pool.take_back(Vec::with_capacity(LARGE - 1));
        assert!(pool.find(LARGE).is_none(), "most of it would be wasted");
        assert!(pool.find(9 * LARGE).is_none());
        assert!(pool.find(7 * LARGE).is_some());
        assert!(is_empty(&pool));
    }

    #[test]
    fn kept_memory_is_limited() {
        let mut kept = Retained::new(100);
        let now = Instant::now();
        assert_eq!(kept.keep("a", 40, now), (vec![], true));
        assert_eq!(kept.keep("b", 40, now), (vec![], false));
        assert_eq!(kept.keep("c", 40, now), (vec!["a"], false));
        assert_eq!(kept.keep("d", 101, now), (vec!["d"], false));
        assert_eq!(kept.keep("e", 100, now), (vec!["b", "c"], false));
        assert_eq!(kept.take(|size| size == 100), Some("e"));
        assert_eq!(kept.keep("f", 1, now), (vec![], false));
        assert_eq!(kept.pause(true), ["f"]);
        assert_eq!(kept.keep("h", 1, now), (vec!["h"], false));
        assert_eq!(kept.pause(false), [""; 0]);
        assert_eq!(kept.keep("i", 1, now), (vec![], false));
        assert_eq!(kept.close(), ["i"]);
        assert_eq!(kept.keep("g", 1, now), (vec!["g"], false));
    }

    #[test]
    fn memory_is_dropped_a_while_after_its_last_use() {
        let mut kept = Retained::new(100);
        let first = Instant::now();
        let _ = kept.keep("a", 1, first);
        // Another one is used again and again.
        let _ = kept.keep("b", 2, first + RETENTION / 2);
        assert_eq!(kept.trim(first), (vec![], Some(first + RETENTION)));
        let later = first + RETENTION;
        assert_eq!(kept.trim(later), (vec!["a"], Some(later + RETENTION / 2)));
        assert_eq!(kept.trim(later + RETENTION), (vec!["b"], None));
        let (_, is_news) = kept.keep("c", 1, later);
        assert!(is_news, "the caller does not look any more");
    }
}
