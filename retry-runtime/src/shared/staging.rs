//! The memory in which a runtime stages large arguments, so that workers read them where they are.
//!
//! A buffer belongs to one call at a time, from when its arguments are encoded until the call is over and each worker
//! that was sent it has answered or ended. Then it is free for the next call. Touching memory for the first time takes
//! longer than everything else, so free buffers are kept, up to a limit and each for a while after its last use.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::object::Object;
use crate::codec::buffers::Keeper;
use crate::codec::staging::Place;
use crate::sys::{StagingBuffer, is_for_want_of_resources};

/// The size of a file that holds several buffers, in bytes.
const FILE: usize = 2 * 1024 * 1024;

/// The maximum number of files, each of which takes a descriptor. Arguments beyond are a part of their messages.
const MOST_FILES: usize = 64;

/// The size from which on contents have a buffer of their own that is not kept, in bytes.
const WORTH_A_FILE: usize = 4 * 1024 * 1024;

/// The alignment of contents, in bytes.
const ALIGNMENT: usize = 64;

/// The staging memory of one runtime.
pub(crate) struct StagingPool {
    keeper: Keeper<Piece>,
    files: Arc<AtomicUsize>,
    /// Set once the system has refused to create such memory, for another reason than a lack of resources.
    is_refused: AtomicBool,
    /// The number of bytes that free buffers may have.
    limit: usize,
}

/// A buffer, and the file that it is a part of.
pub(crate) struct Piece {
    buffer: StagingBuffer,
    file: Arc<File>,
}

/// A file, which exists as long as any of its buffers.
struct File {
    /// The name by which workers ask for it.
    object: Arc<Object>,
    files: Arc<AtomicUsize>,
}

impl Drop for File {
    fn drop(&mut self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StagingPool {
    /// Creates a pool; see [`Keeper::new`].
    pub(crate) fn new(limit: usize, wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            keeper: Keeper::new(limit, wake),
            files: Arc::default(),
            is_refused: AtomicBool::new(false),
            limit,
        })
    }

    /// Returns the free buffers.
    pub(crate) fn keeper(&self) -> &Keeper<Piece> {
        &self.keeper
    }

    /// Returns a buffer for at least `bytes` bytes; `None` if there is no memory or descriptor for it.
    fn take(&self, bytes: usize) -> Option<Piece> {
        let size = size_for(bytes)?;
        let found = self.keeper.take(|other| other == size);
        if found.is_some() || self.keeper.is_closed() {
            return found;
        }
        // A buffer that is not kept takes new memory. A message takes twice as much, which counts from this size on.
        let is_kept = size <= self.limit;
        if self.is_refused.load(Ordering::Relaxed) || !is_kept && size < WORTH_A_FILE {
            return None;
        }
        if self.files.fetch_add(1, Ordering::Relaxed) >= MOST_FILES {
            self.files.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let count = (FILE.min(self.limit) / size).max(1);
        let (file, buffers) = match StagingBuffer::create(count, size) {
            Ok(created) => created,
            Err(error) => {
                self.files.fetch_sub(1, Ordering::Relaxed);
                let is_scarce = is_for_want_of_resources(&error);
                // An old kernel, or a filter of system calls.
                self.is_refused.fetch_or(!is_scarce, Ordering::Relaxed);
                // The memory or the descriptors may help others.
                self.keeper.drop_free();
                return None;
            }
        };
        let length = buffers.len() * size;
        let file = Arc::new(File {
            object: Object::staging(file, length),
            files: Arc::clone(&self.files),
        });
        let mut pieces = buffers.into_iter().map(|buffer| Piece {
            buffer,
            file: Arc::clone(&file),
        });
        let first = pieces.next();
        pieces.for_each(|piece| self.keep(piece));
        first
    }

    /// Keeps a free buffer for the next calls.
    fn keep(&self, piece: Piece) {
        let size = piece.buffer.size();
        self.keeper.keep(piece, size);
    }
}

/// Returns the size of a buffer for as many bytes. It wastes a quarter of its memory at most, so that buffers can be
/// used again for about the same size.
fn size_for(bytes: usize) -> Option<usize> {
    let step = bytes.checked_next_power_of_two()? / 8;
    bytes.checked_next_multiple_of(step.max(16 * 1024))
}

/// A buffer that a call owns.
pub(crate) struct Loan {
    piece: Option<Piece>,
    pool: Weak<StagingPool>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(piece) = self.piece.take() else {
            return;
        };
        if piece.file.object.is_foreign() {
            // The pool's lock may have been held by a thread that does not exist in this fork.
            return std::mem::forget(piece);
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.keep(piece);
        }
    }
}

/// The buffers of a call whose arguments are being encoded.
pub(super) struct Stager {
    pool: Arc<StagingPool>,
    filled: Vec<Filling>,
}

struct Filling {
    loan: Loan,
    used: usize,
}

impl Filling {
    /// Returns where the next contents begin.
    fn next(&self) -> usize {
        self.used.next_multiple_of(ALIGNMENT)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let size = self.loan.piece.as_ref().map(|piece| piece.buffer.size());
        size.and_then(|size| size.checked_sub(self.next())) >= Some(bytes)
    }
}

impl Stager {
    pub(super) fn new(pool: Arc<StagingPool>) -> Self {
        Self {
            pool,
            filled: Vec::new(),
        }
    }

    /// Returns whether a buffer for as many bytes is kept after the call.
    pub(super) fn keeps(&self, bytes: usize) -> bool {
        size_for(bytes).is_some_and(|size| size <= self.pool.limit)
    }

    /// Makes sure that the last buffer has room for as many bytes.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        // The iterator of a map may have forked.
        if self.pool.keeper.is_foreign() {
            return false;
        }
        if self.filled.last().is_some_and(|last| last.has_room(bytes)) {
            return true;
        }
        let Some(piece) = self.pool.take(bytes) else {
            return false;
        };
        let loan = Loan {
            piece: Some(piece),
            pool: Arc::downgrade(&self.pool),
        };
        self.filled.push(Filling { loan, used: 0 });
        true
    }

    /// Copies bytes for which room was reserved.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Place {
        let last = self.filled.last_mut().expect("room was reserved");
        let start = last.next();
        let piece = last.loan.piece.as_mut().expect("it was not given back");
        piece.buffer.write(start, bytes);
        last.used = start + bytes.len();
        Place {
            memory: piece.file.object.id().number,
            offset: (piece.buffer.offset() + start) as u64,
        }
    }

    /// Takes the buffers that were filled, and returns how many bytes these are.
    pub(super) fn take(&mut self) -> (Vec<Loan>, usize) {
        if self.filled.is_empty() {
            return (Vec::new(), 0);
        }
        let filled = std::mem::take(&mut self.filled);
        let bytes = filled.iter().map(|filling| filling.used).sum();
        let used = filled.into_iter().filter(|filling| filling.used > 0);
        (used.map(|filling| filling.loan).collect(), bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::codec::buffers::RETENTION;

    fn pool(limit: usize) -> (Arc<StagingPool>, Arc<AtomicUsize>) {
        let wakes = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&wakes);
        let wake = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (StagingPool::new(limit, wake), wakes)
    }

    fn staged(pool: &Arc<StagingPool>, bytes: &[u8]) -> (Place, Vec<Loan>) {
        let mut stager = Stager::new(Arc::clone(pool));
        assert!(stager.reserve(bytes.len()));
        let place = stager.put(bytes);
        let (loans, staged) = stager.take();
        assert_eq!(staged, bytes.len());
        (place, loans)
    }

    #[test]
    fn a_buffer_is_used_again_once_nothing_owns_it() {
        let (pool, wakes) = pool(1 << 30);
        let content = vec![7; 3 << 20];
        let (first, loan) = staged(&pool, &content);
        let (second, other) = staged(&pool, &content);
        assert_ne!(first, second);
        drop(loan);
        assert_eq!(staged(&pool, &content).0, first);
        drop(other);
        assert_eq!(staged(&pool, &content).0, second, "the last used one");
        assert_eq!(pool.files.load(Ordering::Relaxed), 2);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn contents_of_a_call_share_a_buffer() {
        let (pool, _) = pool(1 << 30);
        let mut stager = Stager::new(Arc::clone(&pool));
        assert!(stager.reserve(100_000));
        let first = stager.put(&[1; 100_001 - 1]);
        assert!(stager.reserve(100));
        let second = stager.put(&[2; 100]);
        assert_eq!(first.memory, second.memory);
        assert_eq!(second.offset % ALIGNMENT as u64, 0);
        assert!(second.offset >= first.offset + 100_000);
        assert!(stager.reserve(1 << 20));
        assert_ne!(stager.put(&[3; 1 << 20]).memory, first.memory);
        assert_eq!(stager.take().0.len(), 2);
        assert!(stager.take().0.is_empty());
    }

    #[test]
    fn free_buffers_are_dropped_after_a_while_and_beyond_the_limit() {
        let (pool, wakes) = pool(8 << 20);
        let count = || pool.files.load(Ordering::Relaxed);
        let loans: Vec<_> = (0..4).map(|_| staged(&pool, &vec![0; 4 << 20])).collect();
        assert_eq!(count(), 4);
        drop(loans);
        assert_eq!(count(), 2, "the limit is that of two");
        drop(staged(&pool, &vec![0; 16 << 20]));
        assert_eq!(count(), 2, "more than the limit is not kept");
        let now = Instant::now();
        let due = pool.keeper.trim(now).unwrap();
        assert!(due > now && due <= now + RETENTION);
        assert_eq!(pool.keeper.trim(due + RETENTION), None);
        assert_eq!(count(), 0);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        drop(staged(&pool, &vec![0; 4 << 20]));
        assert_eq!((count(), wakes.load(Ordering::Relaxed)), (1, 2));
        let (_, loan) = staged(&pool, &vec![0; 4 << 20]);
        pool.keeper.close();
        assert!(pool.take(4 << 20).is_none());
        drop(loan);
        assert_eq!(count(), 0);
    }

    #[test]
    fn files_are_limited_and_small_buffers_share_them() {
        let (pool, _) = pool(1 << 30);
        let small: Vec<_> = (0..32)
            .map(|_| staged(&pool, &vec![0; 64 << 10]).1)
            .collect();
        assert_eq!(pool.files.load(Ordering::Relaxed), 1);
        let mut large: Vec<_> = (0..MOST_FILES - 1)
            .map(|_| pool.take(FILE).unwrap())
            .collect();
        assert!(pool.take(FILE).is_none());
        pool.keep(large.pop().unwrap());
        // A free buffer of another size is left to calls that need it.
        assert!(pool.take(2 * FILE).is_none());
        assert!(pool.take(FILE).is_some());
        drop((small, large));
    }

    #[test]
    fn a_small_limit_makes_small_files_and_none_that_are_not_kept() {
        let (pool, _) = pool(128 << 10);
        let loans = [staged(&pool, &[1; 64 << 10]), staged(&pool, &[2; 64 << 10])];
        assert_eq!(pool.files.load(Ordering::Relaxed), 1);
        drop(loans);
        assert!(pool.take(256 << 10).is_none());
        assert!(pool.take(WORTH_A_FILE).is_some());
    }

    #[test]
    fn sizes_waste_a_quarter_at_most() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let most = 1 << random.u8(17..40);
            let bytes = random.usize(64 * 1024..most);
            let size = size_for(bytes).unwrap();
            assert!(size >= bytes && size - bytes <= size / 4, "{bytes} {size}");
            assert_eq!(size % 4096, 0);
        }
        assert_eq!(size_for(1 << 20), Some(1 << 20));
        assert_eq!(size_for(64 << 20), Some(64 << 20));
        assert_eq!(size_for(usize::MAX), None);
    }
}
