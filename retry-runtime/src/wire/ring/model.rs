//! A loom model of the ring: checks all interleavings of both sides, as far as a small ring shows them.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::{BYTES, CLOSED, Memory, Reader, SLEEPS, TAKEN, WAITS, WRITTEN, Writer};
use crate::wait::end::model::{Watched, check};
use crate::wait::end::{Sleep, Words};

/// Memory whose accesses loom tracks. It also detects bytes that one side writes while the other reads them.
struct Memories {
    counts: [AtomicU64; 3],
    bytes: [UnsafeCell<u8>; <Ring as Memory>::CAPACITY],
}

#[derive(Clone)]
struct Ring {
    shared: Arc<Memories>,
    words: Watched,
}

impl Ring {
    fn new() -> Self {
        Self {
            shared: Arc::new(Memories {
                counts: std::array::from_fn(|_| AtomicU64::new(0)),
                bytes: std::array::from_fn(|_| UnsafeCell::new(0)),
            }),
            words: Watched::new(),
        }
    }

    fn count_at(&self, at: usize) -> &AtomicU64 {
        let place = [WRITTEN, TAKEN, CLOSED]
            .iter()
            .position(|count| *count == at);
        &self.shared.counts[place.unwrap()]
    }
}

/// Returns the place of a word.
fn word_at(at: usize) -> usize {
    [WAITS, SLEEPS].iter().position(|word| *word == at).unwrap()
}

impl Words for Ring {
    fn word(&self, at: usize) -> u32 {
        self.words.word(word_at(at))
    }

    fn set_word(&self, at: usize, word: u32) {
        self.words.set_word(word_at(at), word);
    }

    fn swap_word(&self, at: usize, word: u32) -> u32 {
        self.words.swap_word(word_at(at), word)
    }

    fn replace_word(&self, at: usize, expected: u32, word: u32) {
        self.words.replace_word(word_at(at), expected, word);
    }

    fn fence(&self) {
        self.words.fence();
    }

    fn sleep(&self, at: usize, word: u32, timeout: Option<Duration>) {
        self.words.sleep(word_at(at), word, timeout);
    }

    fn wake(&self, at: usize) {
        self.words.wake(word_at(at));
    }
}

impl Memory for Ring {
    const CAPACITY: usize = 2;

    fn count(&self, at: usize) -> u64 {
        self.count_at(at).load(Ordering::Acquire)
    }

    fn set_count(&self, at: usize, count: u64) {
        self.count_at(at).store(count, Ordering::Release);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        for (cell, byte) in self.shared.bytes[at - BYTES..].iter().zip(bytes) {
            // SAFETY: none is needed: the cell reports concurrent access by another thread.
            cell.with_mut(|_| ());
            let _ = byte;
        }
    }

    fn read_into(&self, at: usize, length: usize, buffer: &mut impl BufMut) {
        for cell in &self.shared.bytes[at - BYTES..][..length] {
            cell.with(|_| ());
            buffer.put_u8(0);
        }
    }
}

/// Sends more bytes through the ring than fit, with both sides sleeping whenever they can.
#[test]
fn sides_never_both_sleep_or_touch_the_same_bytes() {
    check(3, || {
        let ring = Ring::new();
        let mut writer = Writer::new(ring.clone());
        let mut reader = Reader::new(ring);
        const TOTAL: usize = 3;
        let other = thread::spawn(move || {
            let mut left = TOTAL;
            while left > 0 {
                left -= writer.write(&[0; TOTAL][..left]).unwrap();
                assert!(!writer.publish(), "no side waits for the bell");
                if left > 0 {
                    writer.sleep_for_room().unwrap();
                }
            }
        });
        let mut buffer = BytesMut::new();
        while buffer.len() < TOTAL {
            if reader.read_into(&mut buffer, usize::MAX).unwrap() > 0 {
                assert!(!reader.wake_writer(), "no side waits for the bell");
            } else if reader.try_arm(Sleep::Here) {
                reader.end().park(None);
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn closing_wakes_a_sleeping_reader() {
    check(3, || {
        let ring = Ring::new();
        let mut writer = Writer::new(ring.clone());
        let mut reader = Reader::new(ring);
        let other = thread::spawn(move || {
            writer.write(&[0]).unwrap();
            writer.publish();
            writer.close();
        });
        let mut buffer = BytesMut::new();
        loop {
            // The order in which a worker checks.
            while reader.try_arm(Sleep::Here) && !reader.is_closed() {
                reader.end().park(None);
            }
            let closed = reader.is_closed();
            if reader.read_into(&mut buffer, usize::MAX).unwrap() == 0 && closed {
                break;
            }
        }
        assert_eq!(buffer.len(), 1, "what was written before the end is there");
        other.join().unwrap();
    });
}
