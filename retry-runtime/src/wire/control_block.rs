//! The control block: memory that a worker and its parent share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::lease::LeaseEnd;
use super::ring::{self, Mapped};
use super::stream::{self, Reader, Writer};
use super::{LAST_WORDS_CAPACITY, LONGEST_PAUSE, SLOTS, Transport};
use crate::sys::{self, SharedMemory};

const CLAIMED: usize = 0;
const REQUESTS: usize = 8;
const LAST_WORDS_TICKET: usize = 24;
const LAST_WORDS_LENGTH: usize = 32;
/// The time since which a failure has been reported; zero if none is being reported.
const REPORTING: usize = 40;
/// The time for which the program has been suspended.
const SUSPENDED: usize = 48;
/// One if the worker ends because its lease is over.
const LEASE_OVER: usize = 56;
/// Odd while the parent reads the worker's output.
const READING: usize = 64;
/// The number of bytes of each stream that the parent has read.
const READ: [usize; 2] = [72, 80];
/// The pipes that the worker prints into.
const PIPES: [usize; 2] = [88, 96];
/// The last ticket that was answered without checking what it had printed.
const UNSEEN: usize = 104;
/// The ticket whose future is being polled; zero between polls.
const POLLED: usize = 112;
/// The bytes of the shared values that the worker has made and still has.
const MADE: usize = 120;
const LAST_WORDS: usize = 128;
/// Takes the place of the ticket of the last words: the process went on after it had left them.
pub(crate) const PROCESS_WENT_ON: u64 = u64::MAX;

const SLOTS_AT: usize = LAST_WORDS + LAST_WORDS_CAPACITY;
const SLOT: usize = 32;
/// Offsets of the words of a slot: the ticket, its start time, the ticket that is asked to stop, and for how
/// long failures have been reported since the start.
const SHOWN: usize = 0;
const STARTED: usize = 8;
const ASKED: usize = 16;
const PAUSED: usize = 24;
const CALLS: usize = SLOTS_AT + SLOTS * SLOT;
const ANSWERS: usize = (CALLS + ring::LENGTH).next_multiple_of(64);
const LENGTH: usize = ANSWERS + ring::LENGTH;
/// The size of the memory without rings.
const BARE_LENGTH: usize = CALLS;

/// The number of times that a worker yields, and then sleeps, until it finds a moment at which its parent is
/// not reading its output: about a second in total.
const YIELDS: usize = 100;
const NAPS: usize = 5_000;
const NAP: Duration = Duration::from_micros(150);

/// The shared memory: the worker's state, and a ring for each direction unless frames go through the socket.
/// The worker writes everything outside the rings, with four exceptions: the parent advances the claim to
/// recall tickets, asks tickets to stop, counts the output that it reads, and sets how long the program has
/// been suspended.
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

    /// Returns the transport of the frames.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    fn ring_writer(&self, at: usize) -> Writer {
        Writer::Ring(ring::Writer::new(Mapped::new(Arc::clone(&self.memory), at)))
    }

    fn ring_reader(&self, at: usize) -> Reader {
        Reader::Ring(ring::Reader::new(Mapped::new(Arc::clone(&self.memory), at)))
    }

    /// Faults in the pages that the first call needs, so that it does not pay for the page faults.
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

    /// Returns the worker's ends of both directions. Call it only once.
    pub(crate) fn worker_ends(&self, socket: &Arc<OwnedFd>) -> (Writer, Reader) {
        match self.transport {
            Transport::Rings => (self.ring_writer(ANSWERS), self.ring_reader(CALLS)),
            Transport::Socket => stream::worker_ends(socket),
        }
    }

    /// Returns the time in nanoseconds on the clock that all times in this block are of: the monotonic one,
    /// without the time for which the program was suspended.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let before = sys::load(self.memory.word(SUSPENDED));
        let mut now = sys::monotonic_nanos();
        let suspended = sys::load(self.memory.word(SUSPENDED));
        if suspended != before {
            // The clock may have been read before a suspension that has ended meanwhile.
            now = sys::monotonic_nanos();
        }
        now.saturating_sub(suspended)
    }

    /// Returns what the worker needs to tell that its lease is over.
    pub(crate) fn lease_end(&self) -> LeaseEnd {
        LeaseEnd(Arc::clone(&self.memory))
    }

    /// Returns the word that says whether the worker ends because its lease is over.
    pub(super) fn lease_over(memory: &SharedMemory) -> &AtomicU64 {
        memory.word(LEASE_OVER)
    }

    /// Claims a ticket for execution in a slot. Returns false if the parent has recalled it.
    #[inline]
    pub(crate) fn claim(&self, slot: usize, ticket: u64, now: u64) -> bool {
        // Fill in the slot before the claim: the parent must find every claimed ticket in a slot until it is
        // done.
        self.slot(slot, STARTED).store(now, Ordering::Relaxed);
        self.slot(slot, PAUSED).store(0, Ordering::Relaxed);
        self.slot(slot, SHOWN).store(ticket, Ordering::Release);
        let claimed = self
            .memory
            .word(CLAIMED)
            .compare_exchange(ticket - 1, ticket, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if !claimed {
            self.clear_slot(slot);
        }
        claimed
    }

    /// Claims a ticket whose start is set [later](Self::set_start). Until then the ticket counts as started just
    /// now.
    #[inline]
    pub(crate) fn claim_ahead(&self, slot: usize, ticket: u64) -> bool {
        self.claim(slot, ticket, u64::MAX)
    }

    /// Sets the start time of the ticket that a slot was claimed for.
    pub(crate) fn set_start(&self, slot: usize, now: u64) {
        self.slot(slot, STARTED).store(now, Ordering::Release);
    }

    /// Sets the ticket whose future is about to be polled, or zero after that.
    #[inline]
    pub(crate) fn set_polled(&self, ticket: u64) {
        self.memory.word(POLLED).store(ticket, Ordering::Relaxed);
    }

    /// Counts a request on the connection for nested calls. Call it before sending the request.
    pub(crate) fn count_request(&self) {
        self.memory.word(REQUESTS).fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a shared value that this worker has made.
    pub(crate) fn add_made(&self, bytes: u64) {
        self.memory.word(MADE).fetch_add(bytes, Ordering::AcqRel);
    }

    /// Counts a shared value that this worker has made and has dropped.
    pub(crate) fn remove_made(&self, bytes: u64) {
        self.memory.word(MADE).fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Clears a slot whose ticket has been answered.
    pub(crate) fn clear_slot(&self, slot: usize) {
        self.slot(slot, SHOWN).store(0, Ordering::Release);
    }

    /// Returns whether a ticket that is executing in a slot has been asked to stop.
    pub(crate) fn is_asked(&self, slot: usize, ticket: u64) -> bool {
        sys::load(self.slot(slot, ASKED)) == ticket
    }

    /// Returns a word of a slot.
    fn slot(&self, slot: usize, word: usize) -> &AtomicU64 {
        self.memory.word(SLOTS_AT + slot * SLOT + word)
    }

    /// Stops the clocks of everything that is executing while a failure is being reported.
    pub(crate) fn pause(&self, now: u64) {
        self.memory.word(REPORTING).store(now, Ordering::Release);
    }

    /// Restarts the clocks of the first `slots` slots after a [pause](Self::pause) that began at `since`.
    pub(crate) fn resume(&self, slots: usize, since: u64, now: u64) {
        for slot in 0..slots.min(SLOTS) {
            if sys::load(self.slot(slot, SHOWN)) != 0 {
                let started = sys::load(self.slot(slot, STARTED));
                let pause = now.saturating_sub(started.max(since));
                self.slot(slot, PAUSED).fetch_add(pause, Ordering::AcqRel);
            }
        }
        // Clear `REPORTING` last: the parent may then count the pause twice for a moment, but never not at
        // all.
        self.memory.word(REPORTING).store(0, Ordering::Release);
    }

    /// Returns for how many nanoseconds the clock of a slot has stood still.
    pub(crate) fn paused(&self, slot: usize) -> u64 {
        sys::load(self.slot(slot, PAUSED))
    }

    /// Returns for how many nanoseconds a slot has been executing that began at a time of [`now`](Self::now), without
    /// the times in which its clock stood still.
    pub(crate) fn elapsed(&self, slot: usize, started: u64) -> u64 {
        let passed = self.now().saturating_sub(started);
        passed.saturating_sub(self.paused(slot))
    }

    /// Publishes which pipes standard output and standard error are, by their inode numbers.
    pub(crate) fn set_pipes(&self, pipes: [u64; 2]) {
        for (word, pipe) in PIPES.into_iter().zip(pipes) {
            self.memory.word(word).store(pipe, Ordering::Release);
        }
    }

    /// Returns how many bytes have gone into each pipe: the bytes that the parent has read plus those that
    /// `left` finds still in the pipe. Returns `None` if the parent was reading all the time.
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
            // The parent's thread may have been preempted in the middle of a read.
            if tries < YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(NAP);
            }
        }
        None
    }

    /// Notes that a ticket is about to be answered without checking what it has printed.
    pub(crate) fn set_unseen(&self, ticket: u64) {
        self.memory.word(UNSEEN).store(ticket, Ordering::Release);
    }

    /// Leaves a message for the parent to find if the process ends now, with the ticket that it belongs to,
    /// or zero if that is unknown.
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

    /// Keeps the last words although the process goes on, because no answer has reported them yet.
    pub(crate) fn keep_last_words(&self) {
        self.memory
            .word(LAST_WORDS_TICKET)
            .store(PROCESS_WENT_ON, Ordering::Release);
    }

    /// Withdraws the last words that were kept, if there are any.
    pub(crate) fn withdraw_kept_words(&self) {
        if self.memory.word(LAST_WORDS_TICKET).load(Ordering::Acquire) == PROCESS_WENT_ON {
            self.withdraw_last_words();
        }
    }

    /// Withdraws the last words because the process goes on.
    pub(crate) fn withdraw_last_words(&self) {
        self.memory
            .word(LAST_WORDS_LENGTH)
            .store(0, Ordering::Release);
    }

    // ------------------------------------------------------ the parent's side

    /// Returns the parent's ends of both directions. Call it only once.
    pub(crate) fn parent_ends(&self, socket: &Arc<OwnedFd>) -> (Writer, Reader) {
        match self.transport {
            Transport::Rings => (self.ring_writer(CALLS), self.ring_reader(ANSWERS)),
            Transport::Socket => stream::parent_ends(socket),
        }
    }

    /// Reads from one of the worker's pipes and counts the bytes. `read` returns how many bytes it has read.
    pub(crate) fn read_printed<E>(
        &self,
        stream: usize,
        read: impl FnOnce() -> Result<usize, E>,
    ) -> Result<usize, E> {
        let reading = self.memory.word(READING);
        // The worker may have written any value there, so set the lowest bit instead of adding one.
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

    /// Returns the pipes that the worker says it prints into.
    pub(crate) fn pipes(&self) -> [u64; 2] {
        PIPES.map(|word| sys::load(self.memory.word(word)))
    }

    /// Returns the ticket whose future the worker says it is polling.
    pub(crate) fn polled(&self) -> Option<u64> {
        let ticket = sys::load(self.memory.word(POLLED));
        (ticket != 0).then_some(ticket)
    }

    /// Returns the last ticket of which it is unknown whether it has printed anything.
    pub(crate) fn unseen(&self) -> u64 {
        sys::load(self.memory.word(UNSEEN))
    }

    /// Returns whether the worker says that it has ended because its lease was over.
    pub(crate) fn has_outlived_lease(&self) -> bool {
        sys::load(Self::lease_over(&self.memory)) != 0
    }

    /// Returns the last ticket that was claimed or recalled.
    pub(crate) fn claimed(&self) -> u64 {
        sys::load(self.memory.word(CLAIMED))
    }

    /// Returns how many requests have gone over the connection for nested calls.
    pub(crate) fn requests(&self) -> u64 {
        sys::load(self.memory.word(REQUESTS))
    }

    /// Returns the bytes of the shared values that the worker says it has made and still has.
    pub(crate) fn made(&self) -> u64 {
        sys::load(self.memory.word(MADE))
    }

    /// Returns the tickets that the worker says it is executing in its first slots, and their start times on
    /// the clock of [`now`](Self::now). Time spent on reporting failures is excluded by moving the start time
    /// forward.
    pub(crate) fn executing(&self, slots: usize) -> impl Iterator<Item = (u64, u64)> {
        let reporting = sys::load(self.memory.word(REPORTING));
        let now = if reporting == 0 { 0 } else { self.now() };
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

    /// Sets for how long the program has been suspended in total. The worker must be suspended at this
    /// moment, or must not have measured anything yet.
    pub(crate) fn set_suspended(&self, total: Duration) {
        let nanos = sys::nanos_of(total);
        self.memory.word(SUSPENDED).store(nanos, Ordering::Release);
    }

    /// Asks the function that executes a ticket to stop.
    pub(crate) fn ask(&self, slots: usize, ticket: u64) {
        for slot in 0..slots.min(SLOTS) {
            if sys::load(self.slot(slot, SHOWN)) == ticket {
                self.slot(slot, ASKED).store(ticket, Ordering::Release);
            }
        }
    }

    /// Recalls every ticket up to `last` that is not claimed. Returns the last ticket that had been claimed
    /// or recalled before, or `None` if the worker has written an impossible value there.
    pub(crate) fn recall(&self, last: u64) -> Option<u64> {
        self.memory
            .word(CLAIMED)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |claimed| {
                (claimed <= last).then_some(last)
            })
            .ok()
    }

    /// Returns the message of [`leave_last_words`](Self::leave_last_words), with [`PROCESS_WENT_ON`] in place of the
    /// ticket if the process went on afterwards.
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
    fn a_ticket_is_either_claimed_or_recalled() {
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
    fn a_stop_request_reaches_only_its_own_ticket() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        worker.claim(0, 1, 5);
        control.ask(1, 1);
        assert!(worker.is_asked(0, 1));
        worker.clear_slot(0);
        worker.claim(0, 2, 6);
        assert!(!worker.is_asked(0, 2));
        control.ask(1, 1);
        assert!(!worker.is_asked(0, 2));
    }

    #[test]
    fn reporting_time_is_excluded_up_to_a_limit() {
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
        // A report that does not end, and one whose start lies in the future.
        worker.pause(300);
        assert_eq!(since()[0], 300 + LONGEST_PAUSE);
        worker.pause(u64::MAX);
        assert_eq!(since()[0], 300);
    }

    #[test]
    fn the_time_of_a_suspension_is_excluded() {
        let (control, file) = ControlBlock::create(Transport::Socket).unwrap();
        let worker = ControlBlock::map(&file, Transport::Socket).unwrap();
        let hour = Duration::from_secs(3600).as_nanos() as u64;
        let begun = worker.now();
        assert!(begun <= sys::monotonic_nanos());
        control.set_suspended(Duration::from_nanos(begun));
        assert!(worker.now() < hour, "all time so far was a suspension");
        control.set_suspended(Duration::MAX);
        assert_eq!(worker.now(), 0, "an impossible value does no harm");
    }

    #[test]
    fn impossible_values_are_rejected() {
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
    fn output_is_counted_once_during_concurrent_reads() {
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
        let (_control, file) = ControlBlock::create(Transport::Socket).unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
    }
}
