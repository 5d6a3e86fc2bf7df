//! All operating system calls that need `unsafe`, each with the reason why it is sound.
#![allow(unsafe_code)]

pub(crate) mod attributes;
pub(crate) mod children;
pub(crate) mod group;
pub(crate) mod lineage;
pub(crate) mod memory;

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use bytes::BufMut;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::net::RecvFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Resource};
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec};

/// Memory shared by a parent and its worker.
///
/// The memory is sealed against resizing, so that a corrupted worker cannot make the parent fault by
/// truncating it.
pub(crate) struct SharedMemory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, is not tied to a thread, and is accessed only through
// atomics and through raw copies whose callers hold a lock or outlive the other side.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Creates new memory. Also returns the descriptor with which another process can map it.
    pub(crate) fn create(length: usize) -> io::Result<(Self, OwnedFd)> {
        // Beyond the file size limit, `ftruncate` would raise a signal that ends the program.
        let limit = rustix::process::getrlimit(Resource::Fsize).current;
        if limit.is_some_and(|limit| limit < length as u64) {
            return Err(rustix::io::Errno::FBIG.into());
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("retry-worker", flags)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::map(&file, length)?, file))
    }

    /// Maps memory that another process has created.
    pub(crate) fn map(file: impl AsFd, length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// Returns the 64-bit word at an offset in bytes.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset.saturating_add(8) <= self.length);
        // SAFETY: the offset is inside the mapping and aligned, since mappings start at a page boundary; the
        // mapping lives as long as `self`; every access to these bytes is atomic.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Faults in the page at an offset without changing its contents.
    pub(crate) fn touch(&self, offset: usize) {
        // Unlike a load, a compare-exchange counts as a write for the kernel, whatever value is there.
        let _ = self
            .word(offset)
            .compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sleeps while the number at an offset is `value`, until another process or thread [wakes](Self::wake)
    /// the sleeper or the timeout expires. May return spuriously.
    pub(crate) fn sleep(&self, offset: usize, value: u32, timeout: Option<Duration>) {
        let timeout = timeout.map(timespec);
        // A different number, an interruption and a timeout need no distinction: the caller looks again.
        let word = self.half_word(offset);
        let _ = futex::wait(word, futex::Flags::empty(), value, timeout.as_ref());
    }

    /// Wakes one thread that sleeps at an offset.
    pub(crate) fn wake(&self, offset: usize) {
        let _ = futex::wake(self.half_word(offset), futex::Flags::empty(), 1);
    }

    /// Returns the 32-bit word at an offset in bytes.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset.saturating_add(4) <= self.length);
        // SAFETY: as in `word`; no bytes are accessed through both functions.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Writes bytes at an offset. The caller must ensure that no other thread or process reads them
    /// meanwhile.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset.saturating_add(bytes.len()) <= self.length);
        // SAFETY: the target is inside the mapping, and a slice of this process cannot overlap it, since no
        // slice of the mapping is ever made.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(offset), bytes.len());
        }
    }

    /// Copies bytes out of the memory. They may be anything: callers validate the copy.
    pub(crate) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset.saturating_add(length) <= self.length);
        let mut bytes = vec![0; length];
        // SAFETY: the source is inside the mapping, and the target has the same length.
        unsafe {
            ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), bytes.as_mut_ptr(), length);
        }
        bytes
    }

    /// Appends bytes of the memory to a buffer. As with [`read`](Self::read), they may be anything.
    pub(crate) fn read_into(&self, offset: usize, length: usize, buffer: &mut impl BufMut) {
        let end = offset.saturating_add(length);
        assert!(end <= self.length);
        let mut at = offset;
        while at < end {
            let room = buffer.chunk_mut();
            let length = room.len().min(end - at);
            // SAFETY: the source is inside the mapping; the target has room for as many bytes, which this
            // copy initialises, and belongs to this process alone.
            unsafe {
                ptr::copy_nonoverlapping(self.start.as_ptr().add(at), room.as_mut_ptr(), length);
                buffer.advance_mut(length);
            }
            at += length;
        }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and all borrows have ended. On failure the
        // memory stays mapped, which is harmless.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// An identity that distinguishes a process from its forks: a forked child sees another mark than its parent.
///
/// Comparing marks takes no system call. The kernel clears the page that holds the mark whenever it copies
/// the memory of the process, by whatever means, but not for new threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

/// The page with the mark of this process, once it has one.
static MARK: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// Whether the kernel can clear the page on fork.
static WIPES_ON_FORK: AtomicBool = AtomicBool::new(true);

/// The last mark that this process or one of its ancestors has taken. A child continues counting from the
/// marks of its ancestors, so it never shares a mark with an object that it inherits.
static LAST_MARK: AtomicU64 = AtomicU64::new(0);

impl Mark {
    /// Returns the mark of this process.
    #[inline]
    pub(crate) fn current() -> Self {
        let page = MARK.load(Ordering::Acquire);
        // SAFETY: only `renew` stores a pointer, to a page that is never unmapped and that starts with a
        // number that is only accessed atomically.
        if let Some(page) = unsafe { page.as_ref() } {
            let mark = page.load(Ordering::Relaxed);
            if mark != 0 {
                return Self(mark);
            }
        }
        Self::renew()
    }

    /// Returns whether this is the mark of the calling process.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Takes a mark for a process that has none. Takes no lock and allocates nothing on the heap, because it
    /// may run in a signal handler, or in a child whose other threads are gone.
    #[cold]
    fn renew() -> Self {
        if !WIPES_ON_FORK.load(Ordering::Relaxed) {
            return Self::of_pid();
        }
        let mut page = MARK.load(Ordering::Acquire);
        if page.is_null() {
            let Some(new) = wiped_on_fork() else {
                WIPES_ON_FORK.store(false, Ordering::Relaxed);
                return Self::of_pid();
            };
            let exchanged =
                MARK.compare_exchange(page, new.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
            // If another thread was first, this page stays mapped and unused.
            page = exchanged.map_or_else(|first| first, |_| new.as_ptr());
        }
        // SAFETY: as in `current`; the pointer is not null.
        let page = unsafe { &*page };
        let new = LAST_MARK.fetch_add(1, Ordering::Relaxed) + 1;
        match page.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(new),
            Err(first) => Self(first),
        }
    }

    /// Returns a replacement for the page where the kernel cannot clear pages: a count combined with the pid
    /// that it is for.
    fn of_pid() -> Self {
        let pid = u64::from(std::process::id());
        let mark = LAST_MARK.load(Ordering::Relaxed);
        if mark & u64::from(u32::MAX) == pid {
            return Self(mark);
        }
        let new = (((mark >> 32) + 1) << 32) | pid;
        match LAST_MARK.compare_exchange(mark, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Self(new),
            Err(first) => Self(first),
        }
    }
}

/// Maps a page of memory that is zero in a forked child.
fn wiped_on_fork() -> Option<NonNull<AtomicU64>> {
    let length = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory. The advice is
    // given for that mapping alone, before anything is stored there.
    unsafe {
        let start =
            rustix::mm::mmap_anonymous(ptr::null_mut(), length, protection, MapFlags::PRIVATE)
                .ok()?;
        if rustix::mm::madvise(start, length, Advice::LinuxWipeOnFork).is_err() {
            let _ = rustix::mm::munmap(start, length);
            return None;
        }
        NonNull::new(start.cast())
    }
}

/// A static with a separate value in each process: a forked child does not see its parent's value, so it
/// never waits for a lock that was held by a thread which does not exist in the child.
///
/// Values are never dropped. A child leaks those of its parent.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<Marked<T>>);

struct Marked<T> {
    mark: Mark,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value, if this process has set one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: only `get_or_init` stores pointers, to values that are never dropped. The bound on `T`
        // allows the value to be shared between threads.
        let found = unsafe { self.0.load(Ordering::Acquire).as_ref() }?;
        found.mark.is_current().then_some(&found.value)
    }

    /// Returns the value and creates it if there is none. If several threads arrive at once, each may create
    /// one and only the first is kept, so `make` must be cheap and free of side effects.
    #[inline]
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &'static T {
        match self.get() {
            Some(value) => value,
            None => self.init(make()),
        }
    }

    #[cold]
    fn init(&self, value: T) -> &'static T {
        let mark = Mark::current();
        let new = Box::into_raw(Box::new(Marked { mark, value }));
        let mut found = self.0.load(Ordering::Acquire);
        loop {
            // SAFETY: as in `get`.
            if let Some(first) = unsafe { found.as_ref() }
                && first.mark == mark
            {
                // SAFETY: the pointer is from `into_raw` and was not shared.
                drop(unsafe { Box::from_raw(new) });
                return &first.value;
            }
            match self
                .0
                .compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire)
            {
                // SAFETY: from here on the value is shared and never dropped.
                Ok(_) => return unsafe { &(*new).value },
                Err(other) => found = other,
            }
        }
    }
}

/// The size, in bytes, from which on large pages pay off.
const SPACIOUS: usize = 4 * 1024 * 1024;

/// Tells the kernel that all of this room is about to be filled. With large pages, filling takes a quarter of
/// the time, most of which would otherwise be spent on page faults.
pub(crate) fn fills<T>(room: &mut [MaybeUninit<T>]) {
    let length = size_of_val(room);
    if length < SPACIOUS {
        return;
    }
    let start = room.as_mut_ptr().cast::<u8>();
    let before = start.addr() % 4096;
    // SAFETY: this is advice, which changes neither what memory contains nor what may be done with it:
    // neither for the room, nor for other data on its first page.
    let _ = unsafe {
        rustix::mm::madvise(
            start.wrapping_sub(before).cast(),
            length + before,
            Advice::LinuxHugepage,
        )
    };
}

/// A number type without padding bytes.
///
/// # Safety
///
/// The type must have no bytes between or after those of its value.
pub(crate) unsafe trait Number: Copy + 'static {}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(
            // SAFETY: a primitive number consists of nothing but its bytes.
            unsafe impl Number for $type {}
        )*
    };
}

numbers! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

/// Returns the bytes of numbers as they are in memory.
pub(crate) fn bytes_of<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: the slice covers exactly the bytes of the numbers, all of them initialised, and borrows them
    // for the same lifetime; bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Converts a duration to the kernel's representation.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Returns the time in nanoseconds on the monotonic clock, which all processes of a machine share.
pub(crate) fn monotonic_nanos() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Like [`monotonic_nanos`], but as of the last tick of the kernel, at most some milliseconds ago. It takes a
/// fifth of the time.
pub(crate) fn coarse_nanos() -> u64 {
    nanos(ClockId::MonotonicCoarse)
}

/// Returns the processor's time-stamp counter, which advances at a constant but unknown rate. Reading it
/// takes a third of the time of reading a clock.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(crate) fn ticks() -> u64 {
    // SAFETY: every processor of this architecture has this instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Returns the time of a clock, on architectures whose counter this crate cannot read.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn ticks() -> u64 {
    monotonic_nanos()
}

fn nanos(clock: ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Returns the instant that another process saw as `nanos` on the monotonic clock; never one in the future.
pub(crate) fn instant_of(nanos: u64) -> Instant {
    past_instant_of(nanos).unwrap_or_else(Instant::now)
}

/// Like [`instant_of`], but returns `None` for a time in the future.
pub(crate) fn past_instant_of(nanos: u64) -> Option<Instant> {
    let now = Instant::now();
    let ago = monotonic_nanos().checked_sub(nanos)?;
    now.checked_sub(Duration::from_nanos(ago))
}

/// Returns whether an operating system error means that descriptors, processes or memory are exhausted at the
/// moment.
pub(crate) fn is_for_want_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let scarce = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::NOBUFS,
    ];
    let code = error.raw_os_error();
    scarce
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == code)
}

/// Reads a word as the other side last stored it.
pub(crate) fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

/// Reads at most `want` bytes and appends them to a buffer.
pub(crate) fn read_into(
    file: impl AsFd,
    buffer: &mut bytes::BytesMut,
    want: usize,
) -> rustix::io::Result<usize> {
    buffer.reserve(want);
    let (read, _) = rustix::io::read(file, &mut buffer.spare_capacity_mut()[..want])?;
    let read = read.len();
    // SAFETY: rustix has proved that so many bytes after the old ones are initialised.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}

/// Receives at most `most` bytes without blocking and appends them to a buffer.
pub(crate) fn receive_into(
    socket: impl AsFd,
    buffer: &mut impl BufMut,
    most: usize,
) -> rustix::io::Result<usize> {
    let room = buffer.chunk_mut();
    let length = room.len().min(most);
    // SAFETY: nothing but the received bytes is written to the room, and these are initialised.
    let room = unsafe { &mut room.as_uninit_slice_mut()[..length] };
    let ((received, _), _) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
    let received = received.len();
    // SAFETY: rustix has proved that so many bytes of the room are initialised.
    unsafe { buffer.advance_mut(received) };
    Ok(received)
}

/// Waits for events until the timeout expires.
pub(crate) fn wait_for_events(
    epoll: &OwnedFd,
    events: &mut [Event],
    timeout: Option<&Timespec>,
) -> rustix::io::Result<usize> {
    match epoll::wait(epoll, &mut *events, timeout) {
        // Emulators and system call filters may only know the older call, whose timeouts have a resolution of
        // milliseconds.
        Err(Errno::NOSYS | Errno::PERM) => {}
        waited => return waited,
    }
    poll(&mut [PollFd::new(epoll, PollFlags::IN)], timeout)?;
    let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 64];
    let most = c_int::try_from(events.len().min(ready.len())).unwrap_or(0);
    // SAFETY: there is room for as many events as the call is told.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), ready.as_mut_ptr(), most, 0) };
    let count = usize::try_from(count).unwrap_or(0);
    for (event, ready) in events.iter_mut().zip(&ready[..count]) {
        *event = Event {
            flags: EventFlags::from_bits_retain(ready.events),
            data: EventData::new_u64(ready.u64),
        };
    }
    Ok(count)
}

/// Returns the maximum stack size of this process's main thread, for threads that run code that would
/// otherwise run there. If there is no limit, or one that a thread could not reserve, returns a common size;
/// the result is never smaller than the standard library's default.
pub(crate) fn main_stack_size() -> usize {
    const LEAST: u64 = 2 * 1024 * 1024;
    const MOST: u64 = 1024 * 1024 * 1024;
    const USUAL: u64 = 8 * 1024 * 1024;
    let limit = rustix::process::getrlimit(Resource::Stack).current;
    let size = limit.filter(|limit| *limit <= MOST).unwrap_or(USUAL);
    usize::try_from(size.max(LEAST)).unwrap_or(usize::MAX)
}

/// Registers `f` to be called when the program ends by returning from `main` or by `exit`.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: this is the C library's `atexit`. It accepts any function that does not unwind, and a Rust
    // function of this type aborts instead of unwinding.
    unsafe extern "C" {
        safe fn atexit(f: extern "C" fn()) -> std::ffi::c_int;
    }
    // If there is no memory for the registration, the end of the program waits for nothing.
    let _ = atexit(f);
}

/// The C library's standard output.
mod c_stdout {
    use std::ffi::{c_char, c_int, c_void};

    unsafe extern "C" {
        pub(super) static stdout: *mut c_void;
        pub(super) fn __fpending(stream: *mut c_void) -> usize;
        pub(super) fn fflush(stream: *mut c_void) -> c_int;
        pub(super) fn setvbuf(
            stream: *mut c_void,
            buffer: *mut c_char,
            mode: c_int,
            size: usize,
        ) -> c_int;
    }

    /// `_IOLBF`, the same in glibc and musl.
    pub(super) const LINE_BUFFERED: c_int = 1;
}

/// Makes the C library write its standard output line by line, as Rust does. Otherwise it would write to a
/// pipe only when its buffer is full.
pub(crate) fn buffer_c_stdout_by_line() {
    // SAFETY: `stdout` is the C library's stream or one that the program has put in its place, which is a
    // stream as well. Without a buffer and a size, the stream keeps its buffer.
    unsafe {
        c_stdout::setvbuf(
            c_stdout::stdout,
            ptr::null_mut(),
            c_stdout::LINE_BUFFERED,
            0,
        );
    }
}

/// Writes what C code has left in the buffer of its standard output.
#[inline]
pub(crate) fn flush_c_stdout() {
    // SAFETY: as above. If another thread prints meanwhile, the number of bytes is outdated and nothing else;
    // `fflush` takes the stream's lock.
    unsafe {
        if c_stdout::__fpending(c_stdout::stdout) > 0 {
            c_stdout::fflush(c_stdout::stdout);
        }
    }
}

/// Ends this process at once, without flushing buffers or running exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: this takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Ends a process that is not the worker: a child that a function has forked and that has returned from the
/// function. The child must not touch the connection, and ends without writing what the worker has left in
/// its buffers.
#[inline]
pub(crate) fn exit_if_forked(worker: Mark, code: i32) {
    if !worker.is_current() {
        exit_now(code);
    }
}

/// Returns whether a signal is ignored. `/proc` shows this as well, but reading it would take a worker longer
/// than everything else that it does before its orders.
pub(crate) fn is_ignored(signal: rustix::process::Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the second parameter may be null, which changes nothing, and the third has room for what is
    // written.
    let done = unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) };
    // SAFETY: a call that succeeds has written the action.
    done == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// The pipe into which this process's signal handler writes the numbers of signals.
static SIGNALS: PerProcess<OwnedFd> = PerProcess::new();

/// Creates the pipe through which this process learns of the signals that it [catches](catch). Returns the
/// reading end, which does not block.
pub(crate) fn signal_pipe() -> io::Result<OwnedFd> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    SIGNALS.get_or_init(|| writer);
    Ok(reader)
}

/// Returns whether this process has a pipe for signals.
pub(crate) fn has_signal_pipe() -> bool {
    SIGNALS.get().is_some()
}

/// Installs a handler that writes the number of the signal to the pipe of the process that receives it. A
/// forked child inherits the handler. As long as the child has no pipe of its own, the signal has its default
/// effect there.
pub(crate) fn catch(signal: rustix::process::Signal) {
    set_action(signal.as_raw(), true);
}

/// The signal handler. It may interrupt a thread anywhere, so it may only use what is async-signal-safe.
extern "C" fn on_signal(number: std::ffi::c_int) {
    // SAFETY: these are functions of the C library that may be called in a handler. The first returns the
    // address of this thread's error number, which is valid as long as the thread.
    unsafe extern "C" {
        safe fn __errno_location() -> *mut std::ffi::c_int;
        safe fn raise(number: std::ffi::c_int) -> std::ffi::c_int;
    }
    let errno = __errno_location();
    // SAFETY: as above; no other thread uses it.
    let before = unsafe { *errno };
    let pipe = SIGNALS.get();
    let number_byte = [u8::try_from(number).unwrap_or(0)];
    let written = pipe.map(|pipe| rustix::io::write(pipe, &number_byte));
    // If the pipe is full, the reader already has signals to handle. If there is no pipe, or the program has
    // closed it, the signal takes its default effect as soon as this handler returns: it is blocked until
    // then.
    if !matches!(written, Some(Ok(_) | Err(rustix::io::Errno::AGAIN))) {
        set_action(number, false);
        let _ = raise(number);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Resets a signal to its default action.
pub(crate) fn default_action(of: rustix::process::Signal) {
    set_action(of.as_raw(), false);
}

/// Sets a signal's action to `on_signal` or to the default.
fn set_action(number: std::ffi::c_int, caught: bool) {
    type Handler = extern "C" fn(std::ffi::c_int);
    // SAFETY: this is the C library's `signal`. A handler is a pointer, and the default is null.
    unsafe extern "C" {
        fn signal(number: std::ffi::c_int, handler: Option<Handler>) -> usize;
    }
    let handler = caught.then_some(on_signal as Handler);
    // SAFETY: as above. It fails only for numbers that are no signals, and `on_signal` may be called at any
    // moment.
    let _ = unsafe { signal(number, handler) };
}

/// A program to start.
pub(crate) struct Program {
    /// The program's file. Looked up in the directories of `PATH` if it has no slash.
    pub(crate) file: OsString,
    /// The program's own name, then its arguments.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: Option<OsString>,
}

/// Starts a program in a process group of its own, with these standard streams and without any other
/// descriptor of this process.
///
/// `std::process::Command` leaves open every descriptor that is not marked close-on-exec, and whether one is
/// marked is up to the program and its C libraries. `Command` could close them only between `fork` and
/// `exec`, and forking a large process is slow.
pub(crate) fn spawn(program: &Program, streams: [OwnedFd; 3]) -> io::Result<Pid> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let file = text(&program.file)?;
    let arguments = program.arguments.iter().map(|argument| text(argument));
    let arguments = arguments.collect::<io::Result<Vec<_>>>()?;
    let environment = program.environment.iter().map(|(name, value)| {
        let mut variable = name.clone().into_vec();
        variable.push(b'=');
        variable.extend_from_slice(value.as_bytes());
        CString::new(variable).map_err(io::Error::from)
    });
    let environment = environment.collect::<io::Result<Vec<_>>>()?;
    let mut actions = FileActions::new()?;
    // A stream with a number below 3 could be overwritten before its turn, and would stay close-on-exec.
    let mut sources = Vec::with_capacity(streams.len());
    for stream in streams {
        sources.push(if stream.as_raw_fd() < FIRST {
            rustix::io::fcntl_dupfd_cloexec(&stream, FIRST)?
        } else {
            stream
        });
    }
    for (stream, target) in sources.iter().zip(0..) {
        actions.duplicate(stream.as_fd(), target)?;
    }
    if let Some(directory) = &program.directory {
        actions.change_directory(&text(directory)?)?;
    }
    actions.close_others()?;
    let attributes = SpawnAttributes::new()?;
    let pointers = |texts: &[CString]| -> Vec<*mut c_char> {
        let texts = texts.iter().map(|text| text.as_ptr().cast_mut());
        texts.chain([ptr::null_mut()]).collect()
    };
    let mut pid = 0;
    // SAFETY: the texts and everything that the actions refer to live until after the call; both lists end
    // with a null pointer; the C library does not write to the texts; actions and attributes are initialised.
    checked(unsafe {
        libc::posix_spawnp(
            &raw mut pid,
            file.as_ptr(),
            &raw const *actions.0,
            &raw const *attributes.0,
            pointers(&arguments).as_ptr(),
            pointers(&environment).as_ptr(),
        )
    })?;
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The first descriptor after the standard streams.
const FIRST: RawFd = 3;

/// Converts the result of a function that returns an error number.
fn checked(error: c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The steps that a new process takes before it runs its program. Boxed, since a C library may refer to the
/// address.
struct FileActions(Box<libc::posix_spawn_file_actions_t>);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the pointer is to room for one of these.
        checked(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: a call that succeeds has initialised it.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    /// Duplicates a descriptor to another number, which stays open in the new program.
    fn duplicate(&mut self, from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
        let from = from.as_raw_fd();
        // SAFETY: `self` is initialised. The numbers are used in the new process alone.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut *self.0, from, to) })
    }

    fn change_directory(&mut self, to: &CStr) -> io::Result<()> {
        type ChangeDirectory =
            unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, *const c_char) -> c_int;
        let found = symbol(c"posix_spawn_file_actions_addchdir_np");
        // glibc before 2.29.
        let found = found.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the C library's function of this name has this type.
        let change_directory: ChangeDirectory = unsafe { std::mem::transmute(found) };
        // SAFETY: `self` is initialised, and the C library copies the path.
        checked(unsafe { change_directory(&raw mut *self.0, to.as_ptr()) })
    }

    /// Closes all descriptors except the standard streams. Must be the last action, since earlier ones need
    /// some of the descriptors.
    fn close_others(&mut self) -> io::Result<()> {
        type CloseFrom =
            unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, c_int) -> c_int;
        if let Some(found) = symbol(c"posix_spawn_file_actions_addclosefrom_np") {
            // SAFETY: the C library's function of this name has this type.
            let close_from: CloseFrom = unsafe { std::mem::transmute(found) };
            // SAFETY: `self` is initialised.
            return checked(unsafe { close_from(&raw mut *self.0, FIRST) });
        }
        // glibc before 2.34, and musl. A descriptor that another thread opens from here on is not closed.
        for number in inheritable() {
            // SAFETY: `self` is initialised. The number is closed in the new process alone, where it does not
            // matter whether it is open.
            checked(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut *self.0, number) })?;
        }
        Ok(())
    }
}

/// Looks up a function that not all versions of the C library have.
fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name is a text that ends with a zero byte.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: `self` is initialised and not used after this.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut *self.0) };
    }
}

/// Returns the descriptors besides the standard streams that a new program would inherit.
fn inheritable() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= FIRST)
        .filter(|number| {
            // SAFETY: this reads a flag of whatever has the number, and fails if nothing has.
            let flags = unsafe { libc::fcntl(*number, libc::F_GETFD) };
            flags >= 0 && flags & libc::FD_CLOEXEC == 0
        })
        .collect()
}

/// The initial state of a new process.
struct SpawnAttributes(Box<libc::posix_spawnattr_t>);

impl SpawnAttributes {
    /// Creates attributes that give the process a group of its own, an empty signal mask, and the default
    /// action for SIGPIPE. Rust's runtime ignores that signal, but programs written in other languages do not
    /// expect that.
    fn new() -> io::Result<Self> {
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the pointer is to room for one of these.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: a call that succeeds has initialised it.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut signals = MaybeUninit::uninit();
        let flags = libc::POSIX_SPAWN_SETPGROUP
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = flags.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let these = &raw mut *attributes.0;
        // SAFETY: the attributes are initialised. The first call initialises the set and cannot fail, and the
        // setters copy it.
        unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            checked(libc::posix_spawnattr_setsigmask(these, signals.as_ptr()))?;
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            checked(libc::posix_spawnattr_setsigdefault(these, signals.as_ptr()))?;
            checked(libc::posix_spawnattr_setpgroup(these, 0))?;
            checked(libc::posix_spawnattr_setflags(these, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for SpawnAttributes {
    fn drop(&mut self) {
        // SAFETY: `self` is initialised and not used after this.
        unsafe { libc::posix_spawnattr_destroy(&raw mut *self.0) };
    }
}

/// The scheduling policy of a thread and its priority within that policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheduling {
    policy: c_int,
    priority: c_int,
}

impl Scheduling {
    pub(crate) fn of(thread: Pid) -> Option<Self> {
        let mut parameters = libc::sched_param { sched_priority: 0 };
        let thread = thread.as_raw_nonzero().get();
        // SAFETY: this reads and takes numbers only.
        let policy = unsafe { libc::sched_getscheduler(thread) };
        // SAFETY: the pointer is to room for what is written.
        let found = unsafe { libc::sched_getparam(thread, &raw mut parameters) };
        (policy >= 0 && found == 0).then_some(Self {
            policy,
            priority: parameters.sched_priority,
        })
    }

    /// Applies it to the current thread, if that is permitted.
    pub(crate) fn apply(self) {
        let parameters = libc::sched_param {
            sched_priority: self.priority,
        };
        // SAFETY: the pointer is to parameters that live until after the call.
        let _ = unsafe { libc::sched_setscheduler(0, self.policy, &raw const parameters) };
    }
}

/// For `ioprio_get` and `ioprio_set`: the number identifies a thread.
const IO_PRIORITY_OF_THREAD: c_int = 1;

/// Returns the I/O class and level of a thread.
pub(crate) fn io_priority(thread: Pid) -> Option<c_int> {
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: this takes and returns numbers only.
    let priority = unsafe { libc::syscall(libc::SYS_ioprio_get, IO_PRIORITY_OF_THREAD, thread) };
    c_int::try_from(priority)
        .ok()
        .filter(|priority| *priority >= 0)
}

/// Sets the I/O class and level of the current thread, if that is permitted.
pub(crate) fn set_io_priority(priority: c_int) {
    // SAFETY: this takes and returns numbers only.
    let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, IO_PRIORITY_OF_THREAD, 0, priority) };
}

/// Returns the pid of the process that has created a connection, in the pid namespace of this process, or 0
/// if the process has no pid there.
pub(crate) fn maker_of(connection: impl AsFd) -> u32 {
    let mut maker = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of_val(&maker) as libc::socklen_t;
    // SAFETY: the pointers are to the credentials, which have room for as many bytes as the length says, and
    // to the length; both live until after the call.
    let _ = unsafe {
        libc::getsockopt(
            connection.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut maker).cast(),
            &raw mut length,
        )
    };
    u32::try_from(maker.pid).unwrap_or(0)
}

/// Detaches this process from its controlling terminal, if it has one and is not the session leader.
pub(crate) fn leave_terminal() {
    // SAFETY: these take and return numbers only.
    if unsafe { libc::getsid(0) == libc::getpid() } {
        // If the session leader detached, the whole session would lose the terminal and its foreground group
        // would get a hang-up signal.
        return;
    }
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) {
        // SAFETY: this request takes no third parameter.
        let _ = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
    }
}

/// Returns a process number as the system calls take it; `None` for one that no process can have.
pub(crate) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Returns the address of this program's headers, as reported by the kernel or the dynamic loader.
pub(crate) fn program_headers() -> usize {
    // SAFETY: this reads a table that does not change.
    let address = unsafe { libc::getauxval(libc::AT_PHDR) };
    usize::try_from(address).unwrap_or(0)
}

/// A value that stays on the thread that made it, inside something that may be sent to another thread.
pub(crate) struct Tied<T> {
    thread: ThreadId,
    value: ManuallyDrop<T>,
}

// SAFETY: the value is used and dropped on its own thread only: `get_mut` and `drop` compare the thread.
unsafe impl<T> Send for Tied<T> {}

impl<T> Tied<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            thread: thread::current().id(),
            value: ManuallyDrop::new(value),
        }
    }

    /// Returns the value, or `None` on another thread.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        (self.thread == thread::current().id()).then(|| &mut *self.value)
    }
}

impl<T> Drop for Tied<T> {
    /// Drops the value; leaks it on another thread.
    fn drop(&mut self) {
        if self.thread == thread::current().id() {
            // SAFETY: it is dropped nowhere else, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_process_have_one_mark() {
        let mark = Mark::current();
        let others: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(Mark::current))
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(others.into_iter().all(|other| other == mark));
        assert!(mark.is_current());
    }

    #[test]
    fn a_value_is_made_once_for_all_threads() {
        static VALUE: PerProcess<u32> = PerProcess::new();
        assert_eq!(VALUE.get(), None);
        let threads: Vec<_> = (0..8)
            .map(|number| std::thread::spawn(move || VALUE.get_or_init(|| number)))
            .collect();
        let first = VALUE.get_or_init(|| 9);
        for thread in threads {
            assert!(ptr::eq(thread.join().unwrap(), first));
        }
    }
}
