//! A loom model of the ring: checks all interleavings of both sides, as far as a small ring shows them.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::{BYTES, CLOSED, Memory, Reader, SLEEPS, Sleep, TAKEN, WAITS, WRITTEN, Writer};

/// Memory whose accesses loom tracks. It also detects bytes that one side writes while the other reads them.
struct Watched {
    counts: [AtomicU64; 3],
    sleep_words: [AtomicU32; 2],
    bytes: [UnsafeCell<u8>; <Ring as Memory>::CAPACITY],
    /// The number of wake-ups for each word.
    woken: [(Mutex<u32>, Condvar); 2],
}

#[derive(Clone)]
struct Ring(Arc<Watched>);

impl Ring {
    fn new() -> Self {
        Self(Arc::new(Watched {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sleep_words: std::array::from_fn(|_| AtomicU32::new(0)),
            bytes: std::array::from_fn(|_| UnsafeCell::new(0)),
            woken: std::array::from_fn(|_| (Mutex::new(0), Condvar::new())),
        }))
    }

    fn place(at: usize) -> usize {
        match at {
            WRITTEN | WAITS => 0,
            TAKEN | SLEEPS => 1,
            CLOSED => 2,
            _ => unreachable!(),
        }
    }
}

impl Memory for Ring {
    const CAPACITY: usize = 2;

    fn count(&self, at: usize) -> u64 {
        self.0.counts[Self::place(at)].load(Ordering::Acquire)
    }

    fn set_count(&self, at: usize, count: u64) {
        self.0.counts[Self::place(at)].store(count, Ordering::Release);
    }

    fn sleep_word(&self, at: usize) -> u32 {
        self.0.sleep_words[Self::place(at)].load(Ordering::Relaxed)
    }

    fn set_sleep_word(&self, at: usize, word: u32) {
        self.0.sleep_words[Self::place(at)].store(word, Ordering::Relaxed);
    }

    fn swap_sleep_word(&self, at: usize, word: u32) -> u32 {
        self.0.sleep_words[Self::place(at)].swap(word, Ordering::AcqRel)
    }

    fn replace_sleep_word(&self, at: usize, expected: u32, word: u32) {
        let words = &self.0.sleep_words[Self::place(at)];
        let _ = words.compare_exchange(expected, word, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    /// Like a futex in the kernel, checks the word and falls asleep in one step with respect to wake-ups.
    fn sleep(&self, at: usize, word: u32, _: Option<Duration>) {
        let (woken, changed) = &self.0.woken[Self::place(at)];
        let mut times = woken.lock().unwrap();
        let before = *times;
        // A read-modify-write always sees the latest value, as the kernel does.
        let words = &self.0.sleep_words[Self::place(at)];
        let now = words.fetch_add(0, Ordering::AcqRel);
        while now == word && *times == before {
            times = changed.wait(times).unwrap();
        }
    }

    fn wake(&self, at: usize) {
        let (woken, changed) = &self.0.woken[Self::place(at)];
        *woken.lock().unwrap() += 1;
        changed.notify_all();
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        for (cell, byte) in self.0.bytes[at - BYTES..].iter().zip(bytes) {
            // SAFETY: none is needed: the cell reports concurrent access by another thread.
            cell.with_mut(|_| ());
            let _ = byte;
        }
    }

    fn read_into(&self, at: usize, length: usize, buffer: &mut impl BufMut) {
        for cell in &self.0.bytes[at - BYTES..][..length] {
            cell.with(|_| ());
            buffer.put_u8(0);
        }
    }
}

fn check(what: fn()) {
    check_up_to(3, what);
}

/// Checks all interleavings with at most this many preemptions.
fn check_up_to(interruptions: usize, what: fn()) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(interruptions);
    model.check(what);
}

/// Sends more bytes through the ring than fit, with both sides sleeping whenever they can.
#[test]
fn sides_never_both_sleep_or_touch_the_same_bytes() {
    check(|| {
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
                assert!(!reader.wakes(), "no side waits for the bell");
            } else if reader.sleeps(Sleep::Here) {
                reader.sleep(None);
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn closing_wakes_a_sleeping_reader() {
    check(|| {
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
            while reader.sleeps(Sleep::Here) && !reader.is_closed() {
                reader.sleep(None);
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

/// A thread sleeps at the ring until a thread other than the writer tells it to stop.
#[test]
fn an_unparked_reader_does_not_sleep_again() {
    check(|| {
        let ring = Ring::new();
        let reader = Reader::new(ring.clone());
        let told = Arc::new(AtomicU32::new(0));
        let tells = Arc::clone(&told);
        let parker = reader.parker();
        let other = thread::spawn(move || {
            tells.store(1, Ordering::SeqCst);
            parker.unpark();
        });
        while told.load(Ordering::SeqCst) == 0 {
            // As in `rest`: announce sleep, check once more, sleep.
            if reader.sleeps(Sleep::Here) && told.load(Ordering::SeqCst) == 0 {
                reader.sleep(None);
            }
        }
        other.join().unwrap();
        drop(ring);
    });
}

/// One thread writes and counts its answers, and another thread wakes the reader on behalf of the count, as a
/// worker's watchdog does.
#[test]
fn a_reader_woken_by_the_watchdog_sees_counted_answers() {
    check(|| {
        let ring = Ring::new();
        let mut writer = Writer::new(ring.clone());
        let mut reader = Reader::new(ring);
        let sleeper = writer.sleeper();
        let counted = Arc::new(AtomicU32::new(0));
        let kept = Arc::clone(&counted);
        let worker = thread::spawn(move || {
            writer.write(&[0]).unwrap();
            writer.show();
            counted.store(1, Ordering::Release);
        });
        let watchdog = thread::spawn(move || {
            let flush = || {
                // Load before the swap: in the model a swap and a store may take effect in either order.
                if kept.load(Ordering::Relaxed) > 0 && kept.swap(0, Ordering::AcqRel) > 0 {
                    assert!(!sleeper.wakes(), "no side waits for the bell");
                }
            };
            flush();
            worker.join().unwrap();
            flush();
        });
        let mut buffer = BytesMut::new();
        while reader.read_into(&mut buffer, usize::MAX).unwrap() == 0 {
            if reader.sleeps(Sleep::Here) {
                reader.sleep(None);
            }
        }
        watchdog.join().unwrap();
    });
}

/// A caller announces that it will poll for the answer to a request that it is about to send, while another
/// thread leaves the ring. Then the caller polls and sleeps, as `rest` does, unless the other thread finds
/// the answer first and unparks it.
#[test]
fn a_caller_that_announced_a_poll_misses_no_answer() {
    check_up_to(2, || {
        let ring = Ring::new();
        let mut writer = Writer::new(ring.clone());
        let reader = Reader::new(ring);
        let parker = reader.parker();
        let reader = Arc::new(Mutex::new(reader));
        let occupied = Arc::new(AtomicU32::new(0));
        let told = Arc::new(AtomicU32::new(0));
        let (left, registered, tells) = (
            Arc::clone(&reader),
            Arc::clone(&occupied),
            Arc::clone(&told),
        );
        let leaves = thread::spawn(move || {
            let mut reader = left.lock().unwrap();
            let has_waiter = registered.load(Ordering::Acquire) > 0;
            let how = if has_waiter { Sleep::Here } else { Sleep::Bell };
            if !reader.sleeps(how) {
                let read = reader.read_into(&mut BytesMut::new(), usize::MAX);
                tells.store(read.unwrap() as u32, Ordering::SeqCst);
                reader.parker().unpark();
                // As in `leave`.
                if reader.sleeps(how) && has_waiter {
                    reader.parker().unpark();
                }
            }
        });
        parker.announce_poll();
        let worker = thread::spawn(move || {
            writer.write(&[0]).unwrap();
            let _ = writer.publish();
        });
        occupied.store(1, Ordering::Release);
        let mut buffer = BytesMut::new();
        loop {
            let mut reader = reader.lock().unwrap();
            reader.disarm();
            let read = reader.read_into(&mut buffer, usize::MAX).unwrap();
            if read > 0 || told.load(Ordering::SeqCst) > 0 {
                break;
            }
            let sleeps = reader.sleeps(Sleep::Here);
            drop(reader);
            if sleeps && told.load(Ordering::SeqCst) == 0 {
                parker.park(None);
            }
        }
        leaves.join().unwrap();
        worker.join().unwrap();
    });
}
