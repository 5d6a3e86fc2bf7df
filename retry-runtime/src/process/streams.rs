//! This program's own output streams, to which the output of workers is passed on.
//!
//! The threads that pass on lines also deliver results and keep time, so they must not block on a slow
//! reader. They write what a stream accepts at once. From the first byte that it does not accept, everything
//! is queued behind that byte for a writer thread, which is started then and ends when the queue is empty.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::SendFlags;

use crate::api::events::Stream;
use crate::sys::{self, PerProcess};
use crate::terminal;

/// The number of bytes that may be queued for a stream before the pipes of workers are left unread. A worker
/// that prints then waits, as it would if it wrote to the full stream itself.
const ENOUGH: usize = 1024 * 1024;

/// The absolute limit on queued bytes. Beyond [`ENOUGH`], only the remaining output of workers that have
/// ended is queued; beyond this limit it is dropped.
const MAX_QUEUED_BYTES: usize = 16 * ENOUGH;

/// The number of bytes that a pipe accepts as a whole or not at all (`PIPE_BUF`), so that no output of
/// another process comes in between.
const WHOLE: usize = 4096;

/// The time for which a stream may accept nothing before it counts as unread. Then results no longer wait
/// for it.
const UNREAD_AFTER: Duration = Duration::from_secs(1);

/// The time for which a program that ends waits for a stream to accept what is queued.
const END_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The queues of both streams.
static QUEUES: PerProcess<Mutex<Queues>> = PerProcess::new();

/// Notified when a queue has become empty.
static EMPTY: PerProcess<Condvar> = PerProcess::new();

/// True while a queue has bytes. Otherwise [`poll_room`] need not take the lock.
static BUSY: AtomicBool = AtomicBool::new(false);

/// The pid of the process that has the writer threads: a fork of it has none.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Indexed by the number of the descriptor minus one.
struct Queues([StreamQueue; 2]);

struct StreamQueue {
    /// The units in which bytes are written: as many lines as a pipe accepts as a whole, or one longer line.
    pieces: VecDeque<Vec<u8>>,
    /// The total size of the pieces, in bytes.
    length: usize,
    /// The number of bytes ever queued, and of those that have been written or dropped.
    queued: u64,
    done: u64,
    /// When the stream last accepted anything.
    taken: Option<Instant>,
    /// True while a writer thread is running. The piece that it is writing is no longer in the queue.
    writing: bool,
    /// The bells to ring when there is room again.
    waiting: Vec<Arc<OwnedFd>>,
    /// The bells to ring when a number of bytes are done.
    behind: Vec<(u64, Arc<OwnedFd>)>,
}

impl StreamQueue {
    const fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            length: 0,
            queued: 0,
            done: 0,
            taken: None,
            writing: false,
            waiting: Vec::new(),
            behind: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.length += bytes.len();
        self.queued += bytes.len() as u64;
        match self.pieces.back_mut() {
            Some(last) if last.len() + bytes.len() <= WHOLE => last.extend_from_slice(bytes),
            _ => self.pieces.push_back(bytes.to_vec()),
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    /// Drops everything that is queued.
    fn clear(&mut self) {
        self.pieces.clear();
        self.length = 0;
        self.mark_done(self.queued);
    }

    /// Records that the first `done` of all bytes ever queued have been written or dropped.
    fn mark_done(&mut self, done: u64) {
        self.done = done;
        for (_, bell) in self.behind.extract_if(.., |(at, _)| *at <= done) {
            ring(&bell);
        }
    }

    /// Returns whether the stream accepts output, as far as is known.
    fn is_read(&self) -> bool {
        self.taken
            .is_none_or(|taken| taken.elapsed() < UNREAD_AFTER)
    }

    fn wake(&mut self) {
        for bell in self.waiting.drain(..) {
            ring(&bell);
        }
    }
}

impl Queues {
    fn lock() -> MutexGuard<'static, Self> {
        let queues =
            QUEUES.get_or_init(|| Mutex::new(Self([StreamQueue::new(), StreamQueue::new()])));
        queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the queue for lines of a stream. While only the other stream's queue is in use and both
    /// streams are the same file, that is the other queue: two threads would write into each other's lines.
    fn place(&self, stream: Stream) -> usize {
        let (own, other) = match stream {
            Stream::Stdout => (0, 1),
            Stream::Stderr => (1, 0),
        };
        if !self.0[own].writing && self.0[other].writing && are_the_same() {
            other
        } else {
            own
        }
    }
}

fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// A position in the bytes queued for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    place: usize,
    at: u64,
}

impl Queued {
    /// Returns the index of the queue.
    pub(super) fn place(self) -> usize {
        self.place
    }
}

/// Returns the position of the last byte queued for a stream, if anything is queued.
pub(super) fn end_of_queue(stream: Stream) -> Option<Queued> {
    let queues = Queues::lock();
    let place = queues.place(stream);
    let queue = &queues.0[place];
    let at = queue.queued;
    (queue.done < at).then_some(Queued { place, at })
}

/// Returns whether the stream has yet to accept what was queued up to this position and is still accepting
/// output. If so, registers the bell, which is rung when the stream has accepted it; [`patience_ends`]
/// returns when to ask again.
pub(super) fn poll_unwritten(queued: Queued, bell: &Arc<OwnedFd>) -> bool {
    let mut queues = Queues::lock();
    let queue = &mut queues.0[queued.place];
    let waits = queue.done < queued.at && queue.is_read();
    if waits {
        let known = |(at, known): &(u64, _)| *at == queued.at && Arc::ptr_eq(known, bell);
        if !queue.behind.iter().any(known) {
            queue.behind.push((queued.at, Arc::clone(bell)));
        }
    }
    waits
}

/// Returns the time at which a stream will have accepted nothing for so long that it is no longer waited for.
pub(super) fn patience_ends() -> Option<Instant> {
    let queues = Queues::lock();
    let writing = queues.0.iter().filter(|queue| queue.writing);
    let ends = writing.filter_map(|queue| Some(queue.taken? + UNREAD_AFTER));
    let now = Instant::now();
    ends.filter(|end| *end > now).min()
}

/// Passes on a line, or a piece of one, without blocking. Returns its position in the queue if the stream did
/// not accept it at once. It is written to the descriptor itself, since the program may hold the lock of its
/// standard output while it waits for a call. A closed stream is not an error.
pub(super) fn forward(stream: Stream, line: &[u8]) -> Option<Queued> {
    terminal::suspend(|| write_or_queue(stream, line))
}

fn write_or_queue(stream: Stream, line: &[u8]) -> Option<Queued> {
    let mut queues = Queues::lock();
    let place = queues.place(stream);
    let queue = &mut queues.0[place];
    let rest = if queue.writing {
        line
    } else {
        write_now(descriptor(place), line)
    };
    if rest.is_empty() || queue.length + rest.len() > MAX_QUEUED_BYTES {
        return None;
    }
    queue.push(rest);
    if !queue.writing {
        queue.taken = Some(Instant::now());
        queue.writing = start(place);
        if !queue.writing {
            // Without a thread, nothing could wait for the reader.
            queue.clear();
        }
        BUSY.fetch_or(queue.writing, Ordering::Relaxed);
    }
    let at = queue.queued;
    Some(Queued { place, at })
}

/// Returns whether more lines are accepted for a stream. If not, registers the bell, which is rung once they
/// are.
pub(super) fn poll_room(stream: Stream, bell: &Arc<OwnedFd>) -> bool {
    if !BUSY.load(Ordering::Relaxed) {
        return true;
    }
    let mut queues = Queues::lock();
    let place = queues.place(stream);
    let queue = &mut queues.0[place];
    if queue.length < ENOUGH {
        return true;
    }
    if !queue.waiting.iter().any(|known| Arc::ptr_eq(known, bell)) {
        queue.waiting.push(Arc::clone(bell));
    }
    false
}

/// Starts the writer thread of a queue, and makes the end of the program wait for it.
fn start(place: usize) -> bool {
    if PROCESS.swap(std::process::id(), Ordering::Relaxed) != std::process::id() {
        sys::at_exit(finish);
    }
    std::thread::Builder::new()
        .name("retry-output".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || write_queued(place))
        .is_ok()
}

/// Writes queued bytes until the queue is empty.
fn write_queued(place: usize) {
    loop {
        let mut queues = Queues::lock();
        let queue = &mut queues.0[place];
        let piece = queue.take();
        if queue.length < ENOUGH / 2 {
            queue.wake();
        }
        let Some(piece) = piece else {
            // Everything has been written.
            *queue = StreamQueue {
                queued: queue.queued,
                done: queue.queued,
                ..StreamQueue::new()
            };
            let busy = queues.0.iter().any(|queue| queue.writing);
            BUSY.store(busy, Ordering::Relaxed);
            EMPTY.get_or_init(Condvar::new).notify_all();
            return;
        };
        let mut done = queue.done;
        drop(queues);
        for part in piece.chunks(WHOLE) {
            let written = write_all(descriptor(place), part);
            let mut queues = Queues::lock();
            let queue = &mut queues.0[place];
            done += part.len() as u64;
            queue.taken = Some(Instant::now());
            queue.mark_done(done);
            if written.is_err() {
                // The stream has no reader any more.
                queue.clear();
                break;
            }
        }
    }
}

/// Runs when the program ends, and waits for queued output for a limited time.
extern "C" fn finish() {
    if PROCESS.load(Ordering::Relaxed) != std::process::id() {
        return;
    }
    let until = Instant::now() + END_FLUSH_TIMEOUT;
    let mut queues = Queues::lock();
    while queues.0.iter().any(|queue| queue.writing) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let waited = EMPTY.get_or_init(Condvar::new).wait_timeout(queues, left);
        (queues, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
}

fn descriptor(place: usize) -> BorrowedFd<'static> {
    match place {
        0 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

/// Returns whether both streams are the same file.
fn are_the_same() -> bool {
    let [one, other] = [0, 1].map(|place| rustix::fs::fstat(descriptor(place)));
    match (one, other) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

/// Writes all bytes and waits while the stream is full.
fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // The stream is set to non-blocking mode, perhaps by another process.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what the stream accepts at once, and returns the rest.
fn write_now<'a>(file: BorrowedFd<'_>, mut bytes: &'a [u8]) -> &'a [u8] {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return &[];
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    while !bytes.is_empty() {
        match write_some(file, kind, bytes) {
            Ok(written @ 1..) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return bytes,
            Ok(0) | Err(_) => return &[],
        }
    }
    bytes
}

/// Writes without blocking. The descriptor's blocking mode cannot be changed for that: it belongs to the open
/// file, which other processes may share.
fn write_some(file: BorrowedFd<'_>, kind: FileType, bytes: &[u8]) -> rustix::io::Result<usize> {
    match kind {
        // These wait for a disk at most.
        FileType::RegularFile | FileType::BlockDevice => rustix::io::write(file, bytes),
        FileType::Socket => {
            rustix::net::send(file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        }
        _ => {
            let slices = [std::io::IoSlice::new(bytes)];
            // Supported for pipes since Linux 6.4, but not for terminals and named pipes.
            match rustix::io::pwritev2(file, &slices, u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {
                    write_anew(file, kind, bytes)
                }
                written => written,
            }
        }
    }
}

/// Writes without blocking by opening the file again, which gives a blocking mode of our own.
fn write_anew(file: BorrowedFd<'_>, kind: FileType, bytes: &[u8]) -> rustix::io::Result<usize> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(own) => rustix::io::write(own, bytes),
        // The file belongs to another user. If `poll` reports room, a pipe accepts at least this much without
        // blocking, unless another process writes to it first.
        Err(_) if kind == FileType::Fifo => {
            let mut files = [PollFd::new(&file, PollFlags::OUT)];
            match poll(&mut files, Some(&Timespec::default()))? {
                0 => Err(Errno::AGAIN),
                _ => rustix::io::write(file, &bytes[..bytes.len().min(WHOLE)]),
            }
        }
        Err(_) => Err(Errno::AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_up_to_the_atomic_size_of_a_pipe() {
        let mut queue = StreamQueue::new();
        let long = vec![b'x'; 2 * WHOLE];
        for line in [&b"one\n"[..], b"two\n", &long, b"last", &[b'y'; WHOLE - 4]] {
            queue.push(line);
        }
        assert_eq!(queue.length, 8 + 3 * WHOLE);
        assert_eq!(queue.take().unwrap(), b"one\ntwo\n");
        assert_eq!(queue.take().unwrap(), long);
        assert_eq!(queue.take().unwrap().len(), WHOLE);
        assert_eq!(queue.take(), None);
        assert_eq!(queue.length, 0);
    }

    #[test]
    fn a_full_pipe_never_blocks_in_either_mode() {
        for blocks in [true, false] {
            let (reader, writer) = std::io::pipe().unwrap();
            rustix::io::ioctl_fionbio(&writer, !blocks).unwrap();
            let file = rustix::fd::AsFd::as_fd(&writer);
            let all = vec![b'x'; 200_000];
            let rest = write_now(file, &all);
            assert!(!rest.is_empty() && rest.len() < all.len());
            assert_eq!(write_now(file, rest).len(), rest.len());
            // The two other ways give the same result.
            for fifo in [FileType::Fifo, FileType::CharacterDevice] {
                assert_eq!(write_anew(file, fifo, b"x"), Err(Errno::AGAIN));
            }
            drop(reader);
            assert_eq!(write_now(file, rest), b"");
        }
    }
}
