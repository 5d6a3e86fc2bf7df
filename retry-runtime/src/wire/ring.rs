//! One direction of a connection: a ring of bytes in shared memory.
//!
//! The writer counts all bytes that it has ever written, and the reader all bytes that it has ever read, each
//! on a cache line of its own. Bytes count as written once they are published. So after a writer's death
//! everything that it has published is complete, and nothing that it was about to publish is visible.
//!
//! A side that is awake is never woken. A reader announces that it is about to sleep and then checks the ring
//! once more; a writer publishes and then checks whether the reader sleeps. Whichever comes first, at least
//! one of them sees the other. The same holds for a writer that waits for room. A side sleeps either at the
//! ring itself, where the other side wakes it through a futex, or elsewhere; then the other side's methods
//! return whether the [bell](super::bell) must be rung.
//!
//! Each side keeps its own count private and validates the other side's count. Whatever the other side writes
//! there, this side reads and writes within the ring or returns [`Corrupt`].

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use bytes::BufMut;

use super::Corrupt;
use crate::sys::SharedMemory;

/// The number of bytes ever written. Stored by the writer.
const WRITTEN: usize = 0;
/// Set by a writer that waits for room.
const WAITS: usize = 8;
/// Set by a writer that will write nothing more.
const CLOSED: usize = 16;
/// The number of bytes ever taken. Stored by the reader.
const TAKEN: usize = 64;
/// Set by a reader that is about to sleep.
const SLEEPS: usize = 72;
const BYTES: usize = 128;

/// The capacity of a ring, in bytes.
pub(crate) const CAPACITY: usize = 512 * 1024;

/// The number of bytes of a large message that one side publishes at once. Both sides then copy at the same
/// time, and the bytes are still in a cache when the other side reads them.
pub(crate) const PIECE: usize = 64 * 1024;

/// The size of a ring in memory, in bytes.
pub(crate) const LENGTH: usize = BYTES + CAPACITY;

/// The way in which a side waits when it is not polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Sleep {
    /// It does not wait: it is polling.
    Not,
    /// It sleeps elsewhere and needs the bell to be rung.
    Bell,
    /// It sleeps at the ring.
    Here,
}

/// The memory that holds a ring. Offsets are relative to the beginning of the ring.
pub(crate) trait Memory {
    /// The capacity of the ring, in bytes.
    const CAPACITY: usize;

    /// Reads a count with acquire ordering: the reader sees everything written before the count.
    fn count(&self, at: usize) -> u64;

    /// Writes a count with release ordering: everything written before it is visible with it.
    fn set_count(&self, at: usize, count: u64);

    /// Reads a sleep word. The access is relaxed: it orders nothing else.
    fn sleep_word(&self, at: usize) -> u32;

    fn set_sleep_word(&self, at: usize, word: u32);

    /// Writes a sleep word and returns its previous value.
    fn swap_sleep_word(&self, at: usize, word: u32) -> u32;

    /// Writes a sleep word if it has the expected value.
    fn replace_sleep_word(&self, at: usize, expected: u32, word: u32);

    /// A sequentially consistent fence: all threads see what comes before it before what comes after it.
    fn fence(&self);

    /// Sleeps while a sleep word has the value `word`, until woken or until the timeout expires. May return
    /// spuriously.
    fn sleep(&self, at: usize, word: u32, timeout: Option<Duration>);

    /// Wakes one thread that sleeps at a word.
    fn wake(&self, at: usize);

    /// Writes bytes. No other thread may read them meanwhile.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Appends bytes to a buffer. A correct writer does not write them meanwhile.
    fn read_into(&self, at: usize, length: usize, buffer: &mut impl BufMut);
}

/// A ring in memory that two processes share.
#[derive(Clone)]
pub(crate) struct Mapped {
    memory: Arc<SharedMemory>,
    /// The offset at which the ring begins.
    at: usize,
}

impl Mapped {
    pub(crate) fn new(memory: Arc<SharedMemory>, at: usize) -> Self {
        Self { memory, at }
    }
}

impl Memory for Mapped {
    const CAPACITY: usize = CAPACITY;

    fn count(&self, at: usize) -> u64 {
        self.memory.word(self.at + at).load(Ordering::Acquire)
    }

    fn set_count(&self, at: usize, count: u64) {
        let word = self.memory.word(self.at + at);
        word.store(count, Ordering::Release);
    }

    fn sleep_word(&self, at: usize) -> u32 {
        self.memory.half_word(self.at + at).load(Ordering::Relaxed)
    }

    fn set_sleep_word(&self, at: usize, word: u32) {
        let half = self.memory.half_word(self.at + at);
        half.store(word, Ordering::Relaxed);
    }

    fn swap_sleep_word(&self, at: usize, word: u32) -> u32 {
        let half = self.memory.half_word(self.at + at);
        half.swap(word, Ordering::AcqRel)
    }

    fn replace_sleep_word(&self, at: usize, expected: u32, word: u32) {
        let half = self.memory.half_word(self.at + at);
        let _ = half.compare_exchange(expected, word, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn sleep(&self, at: usize, word: u32, timeout: Option<Duration>) {
        self.memory.sleep(self.at + at, word, timeout);
    }

    fn wake(&self, at: usize) {
        self.memory.wake(self.at + at);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.memory.write(self.at + at, bytes);
    }

    fn read_into(&self, at: usize, length: usize, buffer: &mut impl BufMut) {
        self.memory.read_into(self.at + at, length, buffer);
    }
}

/// Wakes the side whose sleep word is at an offset, if that side sleeps. Returns true if the caller must ring
/// the bell.
fn wake(memory: &impl Memory, at: usize) -> bool {
    memory.fence();
    if memory.sleep_word(at) == Sleep::Not as u32 {
        return false;
    }
    let sleep = memory.swap_sleep_word(at, Sleep::Not as u32);
    if sleep == Sleep::Here as u32 {
        memory.wake(at);
    }
    sleep == Sleep::Bell as u32
}

/// The writing side.
pub(crate) struct Writer<M = Mapped> {
    memory: M,
    written: u64,
    published: u64,
    /// The number of bytes taken, as last read from the reader's count.
    taken: u64,
}

impl<M: Memory> Writer<M> {
    /// Creates the writing side of a new ring.
    pub(crate) fn new(memory: M) -> Self {
        Self {
            memory,
            written: 0,
            published: 0,
            taken: 0,
        }
    }

    /// Writes as many of the bytes as there is room for and returns their number. The reader sees them once
    /// they are [published](Self::publish).
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Corrupt> {
        if self.room() < bytes.len() {
            self.look()?;
        }
        let bytes = &bytes[..bytes.len().min(self.room())];
        let start = position::<M>(self.written);
        let (first, second) = bytes.split_at(bytes.len().min(M::CAPACITY - start));
        self.memory.write(BYTES + start, first);
        self.memory.write(BYTES, second);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    /// Returns whether `bytes` bytes can be written at once.
    pub(crate) fn fits(&mut self, bytes: usize) -> Result<bool, Corrupt> {
        if self.room() < bytes {
            self.look()?;
        }
        Ok(self.room() >= bytes)
    }

    /// Writes a header and a payload if there is room for both. Returns whether there was.
    pub(crate) fn write_whole<const H: usize>(
        &mut self,
        header: &[u8; H],
        payload: &[u8],
    ) -> Result<bool, Corrupt> {
        let length = H + payload.len();
        if !self.fits(length)? {
            return Ok(false);
        }
        let start = position::<M>(self.written);
        if start + length <= M::CAPACITY {
            self.memory.write(BYTES + start, header);
            self.memory.write(BYTES + start + H, payload);
            self.written += length as u64;
        } else {
            self.write(header)?;
            self.write(payload)?;
        }
        Ok(true)
    }

    /// Publishes the written bytes and wakes the reader if it sleeps. Returns true if the caller must ring
    /// the bell.
    pub(crate) fn publish(&mut self) -> bool {
        self.show();
        self.wakes()
    }

    /// Publishes the written bytes without checking whether the reader sleeps.
    pub(crate) fn show(&mut self) {
        if self.published != self.written {
            self.published = self.written;
            self.memory.set_count(WRITTEN, self.written);
        }
    }

    /// Wakes the reader if it sleeps. Returns true if the caller must ring the bell.
    pub(crate) fn wakes(&self) -> bool {
        wake(&self.memory, SLEEPS)
    }

    /// Returns a handle with which another thread can wake the reader.
    pub(crate) fn sleeper(&self) -> Sleeper<M>
    where
        M: Clone,
    {
        Sleeper(self.memory.clone())
    }

    /// Marks the ring as closed and wakes the reader. Returns true if the caller must ring the bell.
    pub(crate) fn close(&mut self) -> bool {
        self.memory.set_count(CLOSED, 1);
        self.publish()
    }

    /// Announces that the writer waits for room. Returns false if there is room: then the reader will not
    /// wake the writer.
    pub(crate) fn waits_for_room(&mut self, how: Sleep) -> Result<bool, Corrupt> {
        self.memory.set_sleep_word(WAITS, how as u32);
        self.memory.fence();
        self.look()?;
        if self.room() > 0 {
            self.memory.set_sleep_word(WAITS, Sleep::Not as u32);
        }
        Ok(self.room() == 0)
    }

    /// Returns whether the reader has made room.
    pub(crate) fn has_room(&mut self) -> Result<bool, Corrupt> {
        self.look()?;
        Ok(self.room() > 0)
    }

    /// Sleeps until the reader has made room.
    pub(crate) fn sleep_for_room(&mut self) -> Result<(), Corrupt> {
        while self.waits_for_room(Sleep::Here)? {
            self.memory.sleep(WAITS, Sleep::Here as u32, None);
        }
        Ok(())
    }

    fn room(&self) -> usize {
        M::CAPACITY - (self.written - self.taken) as usize
    }

    fn look(&mut self) -> Result<(), Corrupt> {
        let taken = self.memory.count(TAKEN);
        if taken < self.taken || taken > self.published {
            return Err(Corrupt);
        }
        self.taken = taken;
        Ok(())
    }
}

/// The reading side.
pub(crate) struct Reader<M = Mapped> {
    memory: M,
    taken: u64,
}

impl<M: Memory + Clone> Reader<M> {
    /// Creates the reading side of a new ring.
    pub(crate) fn new(memory: M) -> Self {
        Self { memory, taken: 0 }
    }

    /// Returns whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.memory.count(WRITTEN) == self.taken
    }

    /// Returns the number of bytes that can be read.
    pub(crate) fn available(&self) -> Result<usize, Corrupt> {
        let written = self.memory.count(WRITTEN);
        match written.checked_sub(self.taken) {
            Some(available) if available <= M::CAPACITY as u64 => Ok(available as usize),
            _ => Err(Corrupt),
        }
    }

    /// Reads at most `most` of the available bytes, appends them to a buffer and returns their number. The
    /// caller must call [`wakes`](Self::wakes) afterwards.
    pub(crate) fn read_into(
        &mut self,
        buffer: &mut impl BufMut,
        most: usize,
    ) -> Result<usize, Corrupt> {
        let length = self.available()?.min(most);
        let mut left = length;
        // Publish the progress piece by piece, so that the writer refills the room while the rest is copied.
        while left > 0 {
            let piece = left.min(PIECE);
            let start = position::<M>(self.taken);
            let first = piece.min(M::CAPACITY - start);
            self.memory.read_into(BYTES + start, first, buffer);
            self.memory.read_into(BYTES, piece - first, buffer);
            self.taken += piece as u64;
            self.memory.set_count(TAKEN, self.taken);
            left -= piece;
        }
        Ok(length)
    }

    /// Wakes the writer if it waits for room and at least half of the ring is free, so that the wake-up is
    /// worth its cost; once everything has been read that is always the case. Returns true if the caller must
    /// ring the bell.
    pub(crate) fn wakes(&self) -> bool {
        let unread = self.available().unwrap_or_default();
        unread <= M::CAPACITY / 2 && wake(&self.memory, WAITS)
    }

    /// Returns whether nothing more will be written.
    pub(crate) fn is_closed(&self) -> bool {
        self.memory.count(CLOSED) != 0
    }

    /// Announces that the reader is about to sleep. Returns false if there is something to read: then the
    /// writer will not wake the reader. A caller that depends on the end of the stream must check
    /// [`is_closed`](Self::is_closed) as well.
    pub(crate) fn sleeps(&self, how: Sleep) -> bool {
        self.memory.set_sleep_word(SLEEPS, how as u32);
        self.memory.fence();
        let sleeps_on = self.is_empty();
        if !sleeps_on {
            self.disarm();
        }
        sleeps_on
    }

    /// Sleeps, if [`sleeps`](Self::sleeps) has announced it, until the writer wakes the reader, another
    /// thread calls [`Parker::unpark`], or the timeout expires. May return spuriously.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        self.memory.sleep(SLEEPS, Sleep::Here as u32, timeout);
    }

    /// Returns the place where the reader sleeps, for use by other threads.
    pub(crate) fn parker(&self) -> Parker<M> {
        Parker(self.memory.clone())
    }

    /// Withdraws the announcement of sleep: the reader polls.
    pub(crate) fn disarm(&self) {
        self.memory.set_sleep_word(SLEEPS, Sleep::Not as u32);
    }
}

/// The place where a thread parks that waits for something to read.
pub(crate) struct Parker<M = Mapped>(M);

impl<M: Memory> Parker<M> {
    /// Parks, if the reader has announced it, until woken or until the timeout expires. May return
    /// spuriously.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        self.0.sleep(SLEEPS, Sleep::Here as u32, timeout);
    }

    /// Suppresses the bell because a thread is about to poll. A thread that sleeps here is still woken.
    pub(crate) fn announce_poll(&self) {
        let (bell, not) = (Sleep::Bell as u32, Sleep::Not as u32);
        self.0.replace_sleep_word(SLEEPS, bell, not);
    }

    /// Wakes the thread that sleeps here, or is about to. From now on the writer must ring the bell.
    pub(crate) fn unpark(&self) {
        let (here, bell) = (Sleep::Here as u32, Sleep::Bell as u32);
        self.0.fence();
        self.0.replace_sleep_word(SLEEPS, here, bell);
        self.0.wake(SLEEPS);
    }
}

/// A handle that wakes a reader.
pub(crate) struct Sleeper<M = Mapped>(M);

impl<M: Memory> Sleeper<M> {
    /// Wakes the reader if it sleeps. Returns true if the caller must ring the bell.
    pub(crate) fn wakes(&self) -> bool {
        wake(&self.0, SLEEPS)
    }
}

fn position<M: Memory>(count: u64) -> usize {
    (count % M::CAPACITY as u64) as usize
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn ring() -> (Writer, Reader) {
        let (memory, _) = SharedMemory::create(LENGTH.next_multiple_of(4096)).unwrap();
        let memory = Arc::new(memory);
        (
            Writer::new(Mapped::new(Arc::clone(&memory), 0)),
            Reader::new(Mapped::new(memory, 0)),
        )
    }

    #[test]
    fn unpublished_bytes_are_invisible() {
        let (mut writer, mut reader) = ring();
        let mut buffer = BytesMut::new();
        assert_eq!(writer.write(b"one"), Ok(3));
        assert_eq!(reader.read_into(&mut buffer, usize::MAX), Ok(0));
        assert!(!writer.publish());
        assert_eq!(reader.read_into(&mut buffer, usize::MAX), Ok(3));
        assert_eq!(&buffer[..], b"one");
    }

    #[test]
    fn a_write_stops_at_the_capacity() {
        let (mut writer, mut reader) = ring();
        let most = vec![7; CAPACITY + 5];
        assert_eq!(writer.write(&most), Ok(CAPACITY));
        assert_eq!(writer.write(b"more"), Ok(0));
        writer.publish();
        assert_eq!(writer.waits_for_room(Sleep::Bell), Ok(true));
        let mut buffer = BytesMut::new();
        assert_eq!(reader.read_into(&mut buffer, usize::MAX), Ok(CAPACITY));
        assert!(reader.wakes());
        assert!(!reader.wakes(), "once is enough");
        assert_eq!(writer.waits_for_room(Sleep::Bell), Ok(false));
        assert!(!reader.wakes(), "it has found room by itself");
        assert_eq!(writer.write(b"more"), Ok(4));
    }

    #[test]
    fn both_sides_reject_impossible_counts() {
        let (mut writer, mut reader) = ring();
        let memory = Arc::clone(&writer.memory.memory);
        for impossible in [1, CAPACITY as u64 + 1, u64::MAX] {
            memory.word(TAKEN).store(impossible, Ordering::Relaxed);
            assert_eq!(writer.waits_for_room(Sleep::Bell), Err(Corrupt));
        }
        for impossible in [CAPACITY as u64 + 1, u64::MAX] {
            memory.word(WRITTEN).store(impossible, Ordering::Relaxed);
            assert_eq!(
                reader.read_into(&mut BytesMut::new(), usize::MAX),
                Err(Corrupt)
            );
        }
        writer.taken = 0;
        reader.taken = 5;
        memory.word(WRITTEN).store(4, Ordering::Relaxed);
        assert_eq!(
            reader.read_into(&mut BytesMut::new(), usize::MAX),
            Err(Corrupt)
        );
    }

    #[test]
    fn corrupt_words_never_cause_access_outside_the_ring() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut buffer = BytesMut::new();
        for _ in 0..300 {
            let (mut writer, mut reader) = ring();
            let words = writer.memory.clone();
            for _ in 0..100 {
                let count = match random.u8(..3) {
                    0 => random.u64(..),
                    1 => random.u64(..2 * CAPACITY as u64),
                    _ => reader.taken.wrapping_add(random.u64(..100)),
                };
                words.set_count([WRITTEN, TAKEN, CLOSED][random.usize(..3)], count);
                words.set_sleep_word([SLEEPS, WAITS][random.usize(..2)], random.u32(..5));
                buffer.clear();
                if let Ok(read) = reader.read_into(&mut buffer, usize::MAX) {
                    assert!(read <= CAPACITY && buffer.len() == read);
                }
                let bytes = vec![0; random.usize(..2 * CAPACITY)];
                if let Ok(written) = writer.write(&bytes) {
                    assert!(written <= CAPACITY);
                }
                let _ = writer.publish();
                let _ = writer.waits_for_room(Sleep::Bell);
                let _ = reader.sleeps(Sleep::Bell);
                let _ = reader.wakes();
            }
        }
    }

    /// Sends bytes through two rings to an echoing thread and back. Both threads sleep whenever they can and
    /// wake each other only when the rings demand it. No byte is lost, and no thread sleeps for ever.
    #[test]
    fn no_side_sleeps_while_there_is_work() {
        fn pass_on(
            mut reader: Reader,
            mut writer: Writer,
            bell: &Receiver<()>,
            other: &Sender<()>,
            total: usize,
        ) {
            let mut buffer = BytesMut::new();
            let mut passed = 0;
            while passed < total {
                if reader.read_into(&mut buffer, usize::MAX).unwrap() > 0 && reader.wakes() {
                    other.send(()).unwrap();
                }
                let written = writer.write(&buffer).unwrap();
                let _ = buffer.split_to(written);
                passed += written;
                if writer.publish() {
                    other.send(()).unwrap();
                }
                let waits = buffer.is_empty() || writer.waits_for_room(Sleep::Bell).unwrap();
                if passed < total && waits && reader.sleeps(Sleep::Bell) {
                    bell.recv_timeout(std::time::Duration::from_secs(30))
                        .expect("the other side rings");
                }
            }
        }
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        const TOTAL: usize = 16 * CAPACITY;
        let (mut to_there, there) = ring();
        let (back, mut from_there) = ring();
        let (ring_there, bell_there) = channel();
        let (ring_here, bell_here) = channel();
        let echo = std::thread::spawn(move || pass_on(there, back, &bell_there, &ring_here, TOTAL));
        let (mut sent, mut received) = (0, 0);
        let mut buffer = BytesMut::new();
        while received < TOTAL {
            let length = random.usize(1..4000).min(TOTAL - sent);
            let bytes: Vec<u8> = (sent..sent + length).map(|at| (at % 251) as u8).collect();
            sent += to_there.write(&bytes).unwrap();
            if to_there.publish() {
                ring_there.send(()).unwrap();
            }
            if from_there.read_into(&mut buffer, usize::MAX).unwrap() > 0 && from_there.wakes() {
                ring_there.send(()).unwrap();
            }
            for byte in buffer.split() {
                assert_eq!(byte, (received % 251) as u8);
                received += 1;
            }
            let waits = sent == TOTAL || to_there.waits_for_room(Sleep::Bell).unwrap();
            if received < TOTAL && waits && from_there.sleeps(Sleep::Bell) {
                bell_here
                    .recv_timeout(std::time::Duration::from_secs(30))
                    .expect("the other side rings");
            }
        }
        echo.join().unwrap();
    }
}
