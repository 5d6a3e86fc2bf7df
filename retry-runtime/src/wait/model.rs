//! A loom model of the ends of a ring: checks all interleavings of the threads that sleep and wake.

use std::time::Duration;

use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::{End, Sleep, Words};

/// Words whose accesses loom tracks.
#[derive(Clone)]
pub(crate) struct Watched(Arc<[Word; 2]>);

struct Word {
    value: AtomicU32,
    /// The number of wake-ups.
    woken: (Mutex<u32>, Condvar),
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Word {
            value: AtomicU32::new(0),
            woken: (Mutex::new(0), Condvar::new()),
        })))
    }
}

impl Words for Watched {
    fn word(&self, at: usize) -> u32 {
        self.0[at].value.load(Ordering::Relaxed)
    }

    fn set_word(&self, at: usize, word: u32) {
        self.0[at].value.store(word, Ordering::Relaxed);
    }

    fn swap_word(&self, at: usize, word: u32) -> u32 {
        self.0[at].value.swap(word, Ordering::AcqRel)
    }

    fn replace_word(&self, at: usize, expected: u32, word: u32) {
        let value = &self.0[at].value;
        let _ = value.compare_exchange(expected, word, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    /// Like a futex in the kernel, checks the word and falls asleep in one step with respect to wake-ups.
    fn sleep(&self, at: usize, word: u32, _: Option<Duration>) {
        let Word { value, woken } = &self.0[at];
        let (woken, changed) = woken;
        let mut times = woken.lock().unwrap();
        let before = *times;
        // A read-modify-write always sees the latest value, as the kernel does.
        let now = value.fetch_add(0, Ordering::AcqRel);
        while now == word && *times == before {
            times = changed.wait(times).unwrap();
        }
    }

    fn wake(&self, at: usize) {
        let (woken, changed) = &self.0[at].woken;
        *woken.lock().unwrap() += 1;
        changed.notify_all();
    }
}

/// Checks all interleavings with at most this many preemptions.
pub(crate) fn check(preemptions: usize, what: fn()) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(what);
}

/// A ring without bytes: the reader's end, and a count of what has been written.
#[derive(Clone)]
struct Channel {
    end: End<Watched>,
    written: Arc<AtomicU32>,
}

impl Channel {
    fn new() -> Self {
        Self {
            end: End::new(Watched::new(), 0),
            written: Arc::new(AtomicU32::new(0)),
        }
    }

    fn show(&self) {
        self.written.fetch_add(1, Ordering::Release);
    }

    fn read(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    /// Arms the reader's end, unless more than `read` has been written.
    fn try_arm(&self, how: Sleep, read: u32) -> bool {
        self.end.arm(how);
        let is_empty = self.read() == read;
        if !is_empty {
            self.end.disarm();
        }
        is_empty
    }
}

#[test]
fn a_reader_does_not_sleep_over_what_was_published() {
    check(3, || {
        let channel = Channel::new();
        let writer = channel.clone();
        let other = thread::spawn(move || {
            for _ in 0..2 {
                writer.show();
                assert!(!writer.end.wake(), "no side waits for the bell");
            }
        });
        let mut read = 0;
        while read < 2 {
            match channel.read() {
                same if same == read => {
                    if channel.try_arm(Sleep::Here, read) {
                        channel.end.park(None);
                    }
                }
                more => read = more,
            }
        }
        other.join().unwrap();
    });
}

/// A thread parks at the ring until a thread other than the writer tells it to stop.
#[test]
fn an_unparked_reader_does_not_sleep_again() {
    check(3, || {
        let channel = Channel::new();
        let told = Arc::new(AtomicU32::new(0));
        let tells = Arc::clone(&told);
        let end = channel.end.clone();
        let other = thread::spawn(move || {
            tells.store(1, Ordering::SeqCst);
            end.unpark();
        });
        while told.load(Ordering::SeqCst) == 0 {
            // As the poll loop does: announce sleep, check once more, park.
            if channel.try_arm(Sleep::Here, 0) && told.load(Ordering::SeqCst) == 0 {
                channel.end.park(None);
            }
        }
        other.join().unwrap();
    });
}

/// One thread writes and counts its answers, and another thread wakes the reader on behalf of the count, as a
/// worker's watchdog does.
#[test]
fn a_reader_woken_by_the_watchdog_sees_counted_answers() {
    check(3, || {
        let channel = Channel::new();
        let (writer, end) = (channel.clone(), channel.end.clone());
        let counted = Arc::new(AtomicU32::new(0));
        let kept = Arc::clone(&counted);
        let worker = thread::spawn(move || {
            writer.show();
            counted.store(1, Ordering::Release);
        });
        let watchdog = thread::spawn(move || {
            let flush = || {
                // Load before the swap: in the model a swap and a store may take effect in either order.
                if kept.load(Ordering::Relaxed) > 0 && kept.swap(0, Ordering::AcqRel) > 0 {
                    assert!(!end.wake(), "no side waits for the bell");
                }
            };
            flush();
            worker.join().unwrap();
            flush();
        });
        while channel.read() == 0 {
            if channel.try_arm(Sleep::Here, 0) {
                channel.end.park(None);
            }
        }
        watchdog.join().unwrap();
    });
}

/// A caller announces that it will poll for the answer to a request that it is about to send, while another
/// thread leaves the ring. Then the caller polls and parks, unless the other thread finds the answer first and
/// unparks it.
#[test]
fn a_caller_that_announced_a_poll_misses_no_answer() {
    check(2, || {
        let channel = Channel::new();
        let receiver = Arc::new(Mutex::new(0));
        let occupied = Arc::new(AtomicU32::new(0));
        let told = Arc::new(AtomicU32::new(0));
        let (left, held, registered, tells) = (
            channel.clone(),
            Arc::clone(&receiver),
            Arc::clone(&occupied),
            Arc::clone(&told),
        );
        let leaves = thread::spawn(move || {
            let mut read = held.lock().unwrap();
            let has_waiter = registered.load(Ordering::Acquire) > 0;
            let how = if has_waiter { Sleep::Here } else { Sleep::Bell };
            if !left.try_arm(how, *read) {
                *read = left.read();
                tells.store(1, Ordering::SeqCst);
                left.end.unpark();
                // The waiter may not have parked when it was unparked.
                if left.try_arm(how, *read) && has_waiter {
                    left.end.unpark();
                }
            }
        });
        channel.end.announce_poll();
        let writer = channel.clone();
        let worker = thread::spawn(move || {
            writer.show();
            let _ = writer.end.wake();
        });
        occupied.store(1, Ordering::Release);
        loop {
            let mut read = receiver.lock().unwrap();
            channel.end.disarm();
            let before = std::mem::replace(&mut *read, channel.read());
            if *read > before || told.load(Ordering::SeqCst) > 0 {
                break;
            }
            let sleeps = channel.try_arm(Sleep::Here, *read);
            drop(read);
            if sleeps && told.load(Ordering::SeqCst) == 0 {
                channel.end.park(None);
            }
        }
        leaves.join().unwrap();
        worker.join().unwrap();
    });
}
