//! The memory that a worker and its parent share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::Transport;
use super::ring::{self, Mapped};
use super::stream::{self, Reader, Writer};
use crate::sys::{self, SharedMemory};

const CLAIMED: usize = 0;
const REQUESTS: usize = 8;
const LAST_WORDS_TICKET: usize = 24;
const LAST_WORDS_LENGTH: usize = 32;
/// Since when a failure is being reported; zero if none is.
const REPORTING: usize = 40;
/// Odd while the parent reads what the worker has printed.
const READING: usize = 64;
/// How many bytes of each stream it has read.
const READ: [usize; 2] = [72, 80];
/// Which pipes the worker prints into.
const PIPES: [usize; 2] = [88, 96];
/// The last ticket that was answered without a look at what it has printed.
const UNSEEN: usize = 104;
const LAST_WORDS: usize = 128;
/// The longest last words, in bytes.
/// In place of a ticket: the process went on after it had left its last words.
pub(crate) const KEPT: u64 = u64::MAX;

pub(crate) const LAST_WORDS_CAPACITY: usize = 4096 - LAST_WORDS;
const SLOTS_AT: usize = 4096;
const SLOT: usize = 32;
/// Where the words of a slot are: the ticket, when it was started, the ticket that is asked to
/// stop, and how long failures have been reported since it was started.
const SHOWN: usize = 0;
const STARTED: usize = 8;
const ASKED: usize = 16;
const PAUSED: usize = 24;
const CALLS: usize = SLOTS_AT + SLOTS * SLOT;
const ANSWERS: usize = (CALLS + ring::LENGTH).next_multiple_of(64);
const LENGTH: usize = ANSWERS + ring::LENGTH;
/// How much there is without rings.
const BARE_LENGTH: usize = CALLS;

/// How much of an attempt's time may go into reporting failures without being counted, in
/// nanoseconds. The worker says how much it was, and a panic hook may hang.
pub(crate) const LONGEST_PAUSE: u64 = 10_000_000_000;

/// The number of times that a worker yields, and then sleeps, until it finds a moment at which its parent
/// is not reading its output: together about a second.
const YIELDS: usize = 100;
const NAPS: usize = 5_000;
const NAP: Duration = Duration::from_micros(150);

/// The most inputs that a worker executes at once.
pub(crate) const SLOTS: usize = 1024;

/// The shared memory: what a worker shows of its state, and a ring for each direction unless frames
/// go through the socket. Its own parts are written by the worker, except that the parent moves the
/// claim forward to take tickets back.
pub(crate) struct ControlBlock {
    memory: Arc<SharedMemory>,
    transport: Transport,
}

impl ControlBlock {
    pub(crate) fn create(transport: Transport) -> io::Result<(Self, OwnedFd)> {
        let (memory, file) = SharedMemory::create(length(transport))?;
        let memory = Arc::new(memory);
        Ok((Self { memory, transport }, file))
    }

    pub(crate) fn map(file: impl AsFd, transport: Transport) -> io::Result<Self> {
        let memory = Arc::new(SharedMemory::map(file, length(transport))?);
        Ok(Self { memory, transport })
    }

    /// Which way frames take.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    fn ring_writer(&self, at: usize) -> Writer {
        Writer::Ring(ring::Writer::new(Mapped::new(Arc::clone(&self.memory), at)))
    }

    fn ring_reader(&self, at: usize) -> Reader {
        Reader::Ring(ring::Reader::new(Mapped::new(Arc::clone(&self.memory), at)))
    }

    /// Has the pages there that the first call needs: each costs a fault.
    pub(crate) fn touch(&self) {
        let rings: &[usize] = match self.transport {
            Transport::Rings => &[CALLS, ANSWERS],
            Transport::Socket => &[],
        };
        for at in [0, SLOTS_AT].iter().chain(rings) {
            self.memory.touch(*at);
        }
    }

    // ------------------------------------------------------ the worker's side

    /// The worker's ends of the two directions; to be asked for once.
    pub(crate) fn worker_ends(&self, socket: &Arc<OwnedFd>) -> (Writer, Reader) {
        match self.transport {
            Transport::Rings => (self.ring_writer(ANSWERS), self.ring_reader(CALLS)),
            Transport::Socket => stream::worker_ends(socket),
        }
    }

    /// Claims a ticket, to be executed in a slot; false if the parent took it back.
    #[inline]
    pub(crate) fn claim(&self, slot: usize, ticket: u64, now: u64) -> bool {
        // First the slot: a ticket that is claimed is found in one until it is done.
        self.slot(slot, STARTED).store(now, Ordering::Relaxed);
        self.slot(slot, PAUSED).store(0, Ordering::Relaxed);
        self.slot(slot, SHOWN).store(ticket, Ordering::Release);
        let claimed = self
            .memory
            .word(CLAIMED)
            .compare_exchange(ticket - 1, ticket, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !claimed {
            self.done(slot);
        }
        claimed
    }

    /// The same where it is told [later](Self::starts) when it is started: as long as that is not
    /// known it counts as being started just now.
    #[inline]
    pub(crate) fn claim_ahead(&self, slot: usize, ticket: u64) -> bool {
        self.claim(slot, ticket, u64::MAX)
    }

    /// What a slot was claimed for starts now.
    pub(crate) fn starts(&self, slot: usize, now: u64) {
        self.slot(slot, STARTED).store(now, Ordering::Release);
    }

    /// A request goes over the connection for nested calls; to be called before.
    pub(crate) fn count_request(&self) {
        self.memory.word(REQUESTS).fetch_add(1, Ordering::AcqRel);
    }

    /// What was executed in a slot has been answered.
    pub(crate) fn done(&self, slot: usize) {
        self.slot(slot, SHOWN).store(0, Ordering::Release);
    }

    /// Whether a ticket that is executed in a slot is to stop.
    pub(crate) fn is_asked(&self, slot: usize, ticket: u64) -> bool {
        sys::load(self.slot(slot, ASKED)) == ticket
    }

    /// A word of a slot.
    fn slot(&self, slot: usize, word: usize) -> &AtomicU64 {
        self.memory.word(SLOTS_AT + slot * SLOT + word)
    }

    /// Stops the clocks of what is executing, since a failure is being reported.
    pub(crate) fn pause(&self, now: u64) {
        self.memory.word(REPORTING).store(now, Ordering::Release);
    }

    /// Lets the clocks of the first slots go on, after a [pause](Self::pause) from `since` on.
    pub(crate) fn resume(&self, slots: usize, since: u64, now: u64) {
        for slot in 0..slots.min(SLOTS) {
            if sys::load(self.slot(slot, SHOWN)) != 0 {
                let started = sys::load(self.slot(slot, STARTED));
                let pause = now.saturating_sub(started.max(since));
                self.slot(slot, PAUSED).fetch_add(pause, Ordering::AcqRel);
            }
        }
        // Last: for a moment the parent counts the pause twice, instead of not at all.
        self.memory.word(REPORTING).store(0, Ordering::Release);
    }

    /// Returns how many nanoseconds the clock of a slot has stood still.
    pub(crate) fn paused(&self, slot: usize) -> u64 {
        sys::load(self.slot(slot, PAUSED))
    }

    /// Tells which pipes standard output and standard error are, by their inode numbers.
    pub(crate) fn prints_into(&self, pipes: [u64; 2]) {
        for (word, pipe) in PIPES.into_iter().zip(pipes) {
            self.memory.word(word).store(pipe, Ordering::Release);
        }
    }

    /// Returns how many bytes have gone into each pipe: those that the parent has read, and those that
    /// `left` finds there. `None` if the parent was reading all the time.
    pub(crate) fn printed(&self, mut left: impl FnMut() -> Option<[u64; 2]>) -> Option<[u64; 2]> {
        for tries in 0..YIELDS + NAPS {
            let before = self.memory.word(READING).load(Ordering::SeqCst);
            if before.is_multiple_of(2) {
                let read = READ.map(|word| sys::load(self.memory.word(word)));
                let left = left()?;
                fence(Ordering::SeqCst);
                if self.memory.word(READING).load(Ordering::SeqCst) == before {
                    return Some([0, 1].map(|stream| read[stream].wrapping_add(left[stream])));
                }
            }
            // The parent's thread may have lost its core in the middle.
            if tries < YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(NAP);
            }
        }
        None
    }

    /// A ticket is about to be answered, and what it has printed was not looked at.
    pub(crate) fn leaves_unseen(&self, ticket: u64) {
        self.memory.word(UNSEEN).store(ticket, Ordering::Release);
    }

    /// Leaves a message for the case that the process ends now, with the ticket that it belongs to,
    /// or zero if that is not known.
    pub(crate) fn leave_last_words(&self, ticket: u64, words: &[u8]) {
        if words.len() <= LAST_WORDS_CAPACITY {
            self.memory.write(LAST_WORDS, words);
            self.memory
                .word(LAST_WORDS_LENGTH)
                .store(words.len() as u64, Ordering::Release);
            self.memory
                .word(LAST_WORDS_TICKET)
                .store(ticket, Ordering::Release);
        }
    }

    /// Keeps the last words although the process goes on: as what nobody has been told yet.
    pub(crate) fn keep_last_words(&self) {
        self.memory
            .word(LAST_WORDS_TICKET)
            .store(KEPT, Ordering::Release);
    }

    /// Takes back the words that were kept, if there are any.
    pub(crate) fn withdraw_kept_words(&self) {
        if self.memory.word(LAST_WORDS_TICKET).load(Ordering::Acquire) == KEPT {
            self.withdraw_last_words();
        }
    }

    /// Takes the last words back: the process goes on.
    pub(crate) fn withdraw_last_words(&self) {
        self.memory
            .word(LAST_WORDS_LENGTH)
            .store(0, Ordering::Release);
    }

    // ------------------------------------------------------ the parent's side

    /// The parent's ends of the two directions; to be asked for once.
    pub(crate) fn parent_ends(&self, socket: &Arc<OwnedFd>) -> (Writer, Reader) {
        match self.transport {
            Transport::Rings => (self.ring_writer(CALLS), self.ring_reader(ANSWERS)),
            Transport::Socket => stream::parent_ends(socket),
        }
    }

    /// Reads from one of the worker's pipes: `read` returns how many bytes that were.
    pub(crate) fn read_printed<E>(
        &self,
        stream: usize,
        read: impl FnOnce() -> Result<usize, E>,
    ) -> Result<usize, E> {
        let reading = self.memory.word(READING);
        // The worker may have written anything there.
        let odd = sys::load(reading) | 1;
        reading.store(odd, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let result = read();
        if let Ok(bytes) = result {
            let bytes = bytes as u64;
            let total = self.memory.word(READ[stream]);
            total.fetch_add(bytes, Ordering::AcqRel);
        }
        reading.store(odd.wrapping_add(1), Ordering::SeqCst);
        result
    }

    /// The pipes that the worker says it prints into.
    pub(crate) fn pipes(&self) -> [u64; 2] {
        PIPES.map(|word| sys::load(self.memory.word(word)))
    }

    /// The last ticket of which it is not known whether it has printed anything.
    pub(crate) fn unseen(&self) -> u64 {
        sys::load(self.memory.word(UNSEEN))
    }

    /// The last ticket that was claimed or taken back.
    pub(crate) fn claimed(&self) -> u64 {
        sys::load(self.memory.word(CLAIMED))
    }

    /// How many requests have gone over the connection for nested calls.
    pub(crate) fn requests(&self) -> u64 {
        sys::load(self.memory.word(REQUESTS))
    }

    /// Returns the tickets that the worker says it is executing in its first slots, and since when
    /// on the monotonic clock. The time that it has spent on reporting failures is left out, as if
    /// it had started later.
    pub(crate) fn executing(&self, slots: usize) -> impl Iterator<Item = (u64, u64)> {
        let reporting = sys::load(self.memory.word(REPORTING));
        let now = if reporting == 0 {
            0
        } else {
            sys::monotonic_nanos()
        };
        (0..slots.min(SLOTS)).filter_map(move |slot| {
            let ticket = sys::load(self.slot(slot, SHOWN));
            let started = sys::load(self.slot(slot, STARTED));
            let paused = now
                .saturating_sub(started.max(reporting))
                .saturating_add(self.paused(slot))
                .min(LONGEST_PAUSE);
            (ticket != 0).then_some((ticket, started.saturating_add(paused)))
        })
    }

    /// Asks the function that executes a ticket to stop.
    pub(crate) fn ask(&self, slots: usize, ticket: u64) {
        for slot in 0..slots.min(SLOTS) {
            if sys::load(self.slot(slot, SHOWN)) == ticket {
                self.slot(slot, ASKED).store(ticket, Ordering::Release);
            }
        }
    }

    /// Takes back every ticket up to `last` that is not claimed. Returns the last one that was
    /// claimed or taken back before; `None` if what is written there cannot be.
    pub(crate) fn recall(&self, last: u64) -> Option<u64> {
        self.memory
            .word(CLAIMED)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |claimed| {
                (claimed <= last).then_some(last)
            })
            .ok()
    }

    /// Returns what was left by [`leave_last_words`](Self::leave_last_words), with [`KEPT`] in place of the
    /// ticket if the process went on after that.
    pub(crate) fn last_words(&self) -> Option<(u64, Vec<u8>)> {
        let length = usize::try_from(sys::load(self.memory.word(LAST_WORDS_LENGTH))).ok()?;
        let ticket = sys::load(self.memory.word(LAST_WORDS_TICKET));
        (length > 0 && length <= LAST_WORDS_CAPACITY)
            .then(|| (ticket, self.memory.read(LAST_WORDS, length)))
    }
}

fn length(transport: Transport) -> usize {
    match transport {
        Transport::Rings => LENGTH,
        Transport::Socket => BARE_LENGTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_either_claimed_or_taken_back() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        assert!(worker.claim(0, 1, 5));
        assert_eq!(control.recall(3), Some(1));
        assert!(!worker.claim(1, 2, 6));
        assert!(!worker.claim(1, 3, 7));
        assert!(worker.claim(1, 4, 8));
        assert_eq!(control.claimed(), 4);
        assert_eq!(
            control.executing(8).collect::<Vec<_>>(),
            [(1, 5), (4, 8)],
            "what was taken back is not shown"
        );
    }

    #[test]
    fn only_the_ticket_that_is_meant_is_asked_to_stop() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        worker.claim(0, 1, 5);
        control.ask(1, 1);
        assert!(worker.is_asked(0, 1));
        worker.done(0);
        worker.claim(0, 2, 6);
        assert!(!worker.is_asked(0, 2));
        control.ask(1, 1);
        assert!(!worker.is_asked(0, 2));
    }

    #[test]
    fn the_time_of_a_report_is_left_out_up_to_a_limit() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        let since = || {
            control
                .executing(2)
                .map(|(_, since)| since)
                .collect::<Vec<_>>()
        };
        worker.claim(0, 1, 100);
        worker.claim(1, 2, 150);
        worker.pause(120);
        worker.resume(2, 120, 200);
        assert_eq!(
            since(),
            [180, 200],
            "the second one began during the report"
        );
        worker.claim(0, 3, 300);
        assert_eq!(since(), [300, 200], "the next input starts anew");
        // A report that does not end, and one that begins in the future.
        worker.pause(300);
        assert_eq!(since()[0], 300 + LONGEST_PAUSE);
        worker.pause(u64::MAX);
        assert_eq!(since()[0], 300);
    }

    #[test]
    fn a_claim_that_cannot_be_is_noticed() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        worker.memory.word(CLAIMED).store(99, Ordering::Relaxed);
        assert_eq!(control.recall(3), None);
        worker
            .memory
            .word(LAST_WORDS_LENGTH)
            .store(u64::MAX, Ordering::Relaxed);
        assert_eq!(control.last_words(), None);
    }

    #[test]
    fn what_was_printed_is_counted_once_while_it_is_read() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        let left = AtomicU64::new(0);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let read = control.read_printed::<()>(1, || {
                        Ok(usize::try_from(left.swap(0, Ordering::SeqCst)).unwrap())
                    });
                    read.unwrap();
                }
            });
            for printed in 1..=10_000 {
                left.fetch_add(1, Ordering::SeqCst);
                let look = || Some([0, left.load(Ordering::SeqCst)]);
                if let Some(counted) = worker.printed(look) {
                    assert_eq!(counted, [0, printed]);
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(worker.printed(|| None), None);
    }

    #[test]
    fn the_worker_cannot_shrink_the_memory() {
        let (_board, file) = ControlBlock::create(Transport::Socket).unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
    }
}
