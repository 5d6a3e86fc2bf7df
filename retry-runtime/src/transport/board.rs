//! The memory that a worker and its parent share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use crate::sys::{self, SharedMemory};

const CLAIMED: usize = 0;
const STARTED: usize = 8;
const OUTBOX_LENGTH: usize = 16;
const LAST_WORDS_TICKET: usize = 24;
const LAST_WORDS_LENGTH: usize = 32;
const LAST_WORDS: usize = 64;
const LAST_WORDS_CAPACITY: usize = 4096 - LAST_WORDS;
const OUTBOX: usize = 4096;

/// How many bytes of answers a worker keeps before it must send them.
pub(crate) const OUTBOX_CAPACITY: usize = 64 * 1024;

const LENGTH: usize = OUTBOX + OUTBOX_CAPACITY;

/// The shared page. Its parts are written by the worker, except that the parent moves the claim
/// forward to take tickets back.
pub(crate) struct Board(SharedMemory);

impl Board {
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let (memory, file) = SharedMemory::create(LENGTH)?;
        Ok((Self(memory), file))
    }

    pub(crate) fn map(file: impl AsFd) -> io::Result<Self> {
        Ok(Self(SharedMemory::map(file, LENGTH)?))
    }

    // ------------------------------------------------------ the worker's side

    /// Claims a ticket; false if the parent took it back.
    pub(crate) fn claim(&self, ticket: u64, now: u64) -> bool {
        self.0.word(STARTED).store(now, Ordering::Relaxed);
        self.0
            .word(CLAIMED)
            .compare_exchange(ticket - 1, ticket, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Keeps bytes behind the first `at` bytes of the outbox, and commits them.
    pub(crate) fn keep(&self, at: usize, parts: [&[u8]; 2]) -> usize {
        let mut end = at;
        for part in parts {
            self.0.write(OUTBOX + end, part);
            end += part.len();
        }
        self.commit(end);
        end
    }

    /// Says how many bytes of the outbox count.
    pub(crate) fn commit(&self, length: usize) {
        self.0
            .word(OUTBOX_LENGTH)
            .store(length as u64, Ordering::Release);
    }

    /// Lends the first bytes of the outbox to `f`.
    pub(crate) fn with_outbox<R>(&self, length: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        self.0.with_bytes(OUTBOX, length, f)
    }

    /// Leaves a message for the case that the process ends now.
    pub(crate) fn leave_last_words(&self, words: &[u8]) {
        if words.len() <= LAST_WORDS_CAPACITY {
            let ticket = sys::load(self.0.word(CLAIMED));
            self.0.write(LAST_WORDS, words);
            self.0
                .word(LAST_WORDS_LENGTH)
                .store(words.len() as u64, Ordering::Release);
            self.0
                .word(LAST_WORDS_TICKET)
                .store(ticket, Ordering::Release);
        }
    }

    // ------------------------------------------------------ the parent's side

    /// The last ticket that was claimed or taken back.
    pub(crate) fn claimed(&self) -> u64 {
        sys::load(self.0.word(CLAIMED))
    }

    /// When the worker last claimed a ticket, on the monotonic clock.
    pub(crate) fn started(&self) -> u64 {
        sys::load(self.0.word(STARTED))
    }

    /// Takes back every ticket up to `last` that is not claimed. Returns the last one that was
    /// claimed or taken back before; `None` if what is written there cannot be.
    pub(crate) fn recall(&self, last: u64) -> Option<u64> {
        self.0
            .word(CLAIMED)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |claimed| {
                (claimed <= last).then_some(last)
            })
            .ok()
    }

    /// The answers that were kept and perhaps not sent. For a worker that has ended.
    pub(crate) fn unsent(&self) -> Vec<u8> {
        let length = usize::try_from(sys::load(self.0.word(OUTBOX_LENGTH))).unwrap_or(usize::MAX);
        if length > OUTBOX_CAPACITY {
            return Vec::new();
        }
        self.0.read(OUTBOX, length)
    }

    /// What was left by [`leave_last_words`](Self::leave_last_words) for the last ticket.
    pub(crate) fn last_words(&self) -> Option<Vec<u8>> {
        let length = usize::try_from(sys::load(self.0.word(LAST_WORDS_LENGTH))).ok()?;
        let ticket = sys::load(self.0.word(LAST_WORDS_TICKET));
        (length > 0 && length <= LAST_WORDS_CAPACITY && ticket == self.claimed() && ticket > 0)
            .then(|| self.0.read(LAST_WORDS, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_either_claimed_or_taken_back() {
        let (board, file) = Board::create().unwrap();
        let worker = Board::map(&file).unwrap();
        assert!(worker.claim(1, 5));
        assert_eq!(board.recall(3), Some(1));
        assert!(!worker.claim(2, 6));
        assert!(!worker.claim(3, 7));
        assert!(worker.claim(4, 8));
        assert_eq!(board.claimed(), 4);
    }

    #[test]
    fn a_claim_that_cannot_be_is_noticed() {
        let (board, file) = Board::create().unwrap();
        let worker = Board::map(&file).unwrap();
        worker.0.word(CLAIMED).store(99, Ordering::Relaxed);
        assert_eq!(board.recall(3), None);
        worker
            .0
            .word(OUTBOX_LENGTH)
            .store(u64::MAX, Ordering::Relaxed);
        assert!(board.unsent().is_empty());
        worker
            .0
            .word(LAST_WORDS_LENGTH)
            .store(u64::MAX, Ordering::Relaxed);
        assert_eq!(board.last_words(), None);
    }

    #[test]
    fn the_worker_cannot_shrink_the_memory() {
        let (_board, file) = Board::create().unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
    }
}
