//! All calls to the operating system that need `unsafe`, each with the reason why it is sound.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BufMut;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::net::RecvFlags;
use rustix::process::Resource;
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Memory that a parent and its worker share.
///
/// It is sealed against changes of its size, so that a corrupted worker cannot make the parent
/// fault by truncating it.
pub(crate) struct SharedMemory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, is not tied to a thread, and is only accessed
// through atomics and through raw copies whose callers hold a lock or outlive the other side.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// New memory, and the descriptor by which another process can map it.
    pub(crate) fn create(length: usize) -> io::Result<(Self, OwnedFd)> {
        // Beyond the limit on files there would be a signal, which ends the program.
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

    /// Maps memory that another process created.
    pub(crate) fn map(file: impl AsFd, length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
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

    /// The number at an offset in bytes.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length);
        // SAFETY: the offset is inside the mapping and aligned, since mappings start at a page;
        // the mapping lives as long as `self`; every access to these bytes is atomic.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Has the page of an offset there, without a change of what it contains.
    pub(crate) fn touch(&self, offset: usize) {
        // Unlike a load this is a write to the kernel, whatever is there.
        let _ = self
            .word(offset)
            .compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sleeps as long as the number at an offset is `value`, until another process or thread
    /// [wakes](Self::wake) who sleeps there, or for no reason.
    pub(crate) fn sleep(&self, offset: usize, value: u32, timeout: Option<Duration>) {
        let timeout = timeout.map(timespec);
        // A number that is another one, an interruption, the end of the time: all the same.
        let word = self.half_word(offset);
        let _ = futex::wait(word, futex::Flags::empty(), value, timeout.as_ref());
    }

    /// Wakes one that sleeps at an offset.
    pub(crate) fn wake(&self, offset: usize) {
        let _ = futex::wake(self.half_word(offset), futex::Flags::empty(), 1);
    }

    /// The small number at an offset in bytes.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.length);
        // SAFETY: as in `word`; no bytes are accessed by both.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Writes bytes at an offset. The caller makes sure that nobody reads them meanwhile.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length);
        // SAFETY: the target is inside the mapping, and a slice of this process cannot overlap
        // it, since no slice of the mapping is ever made.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.start.as_ptr().add(offset),
                bytes.len(),
            );
        }
    }

    /// Copies bytes out. They may be anything; what they claim is checked on the copy.
    pub(crate) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset.saturating_add(length) <= self.length);
        let mut bytes = vec![0; length];
        // SAFETY: the source is inside the mapping and the target is as long.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.start.as_ptr().add(offset),
                bytes.as_mut_ptr(),
                length,
            );
        }
        bytes
    }

    /// Copies bytes to the end of a buffer. As with [`read`](Self::read), they may be anything.
    pub(crate) fn read_into(&self, offset: usize, length: usize, buffer: &mut impl BufMut) {
        let end = offset.saturating_add(length);
        assert!(end <= self.length);
        let mut at = offset;
        while at < end {
            let room = buffer.chunk_mut();
            let length = room.len().min(end - at);
            // SAFETY: the source is inside the mapping; the target has room for as many bytes,
            // which are initialised by this, and belongs to this process alone.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.start.as_ptr().add(at),
                    room.as_mut_ptr(),
                    length,
                );
                buffer.advance_mut(length);
            }
            at += length;
        }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and all borrows have ended.
        // Failure would leave the memory mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// From this size on memory is worth large pages.
const SPACIOUS: usize = 4 * 1024 * 1024;

/// Tells the kernel that all of this room is about to be filled: with large pages that takes a
/// quarter of the time, most of which is otherwise spent on faults.
pub(crate) fn fills<T>(room: &mut [MaybeUninit<T>]) {
    let length = size_of_val(room);
    if length < SPACIOUS {
        return;
    }
    let start = room.as_mut_ptr().cast::<u8>();
    let before = start.addr() % 4096;
    // SAFETY: this is advice, which changes neither what memory contains nor what may be done with
    // it: not that of the room, and not that of others on its first page.
    let _ = unsafe {
        rustix::mm::madvise(
            start.wrapping_sub(before).cast(),
            length + before,
            Advice::LinuxHugepage,
        )
    };
}

/// A number, all of whose bytes are always there.
///
/// # Safety
///
/// The type has no bytes between or after those of its value.
pub(crate) unsafe trait Number: Copy + 'static {}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(
            // SAFETY: a primitive number is nothing but its bytes.
            unsafe impl Number for $type {}
        )*
    };
}

numbers! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

/// Numbers as the bytes that they are in memory.
pub(crate) fn bytes_of<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: these are as many bytes as the numbers have, all of them initialised, borrowed for as
    // long; any address is one for bytes.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// A time as the kernel takes it.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Nanoseconds on the monotonic clock, which all processes of a machine share.
pub(crate) fn monotonic_nanos() -> u64 {
    nanos(ClockId::Monotonic)
}

/// The same as of the last tick of the kernel, some milliseconds ago at most: this takes a fifth of
/// the time.
pub(crate) fn coarse_nanos() -> u64 {
    nanos(ClockId::MonotonicCoarse)
}

fn nanos(clock: ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Returns the instant that another process saw as `nanos` on the monotonic clock; not in the future.
pub(crate) fn instant_of(nanos: u64) -> Instant {
    past_instant_of(nanos).unwrap_or_else(Instant::now)
}

/// Returns the same, or `None` for a time that is still to come.
pub(crate) fn past_instant_of(nanos: u64) -> Option<Instant> {
    let now = Instant::now();
    let ago = monotonic_nanos().checked_sub(nanos)?;
    now.checked_sub(Duration::from_nanos(ago))
}

/// Returns whether an error of the operating system says that it has no descriptor, process or memory
/// left at the moment.
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

/// Reads at most `want` bytes to the end of a buffer.
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

/// Receives at most `most` bytes, if there are any, to the end of a buffer.
pub(crate) fn receive_into(
    socket: impl AsFd,
    buffer: &mut impl BufMut,
    most: usize,
) -> rustix::io::Result<usize> {
    let room = buffer.chunk_mut();
    let length = room.len().min(most);
    // SAFETY: nothing but what was received is written to the room, and that is initialised.
    let room = unsafe { &mut room.as_uninit_slice_mut()[..length] };
    let ((received, _), _) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
    let received = received.len();
    // SAFETY: rustix has proved that so many bytes of the room are initialised.
    unsafe { buffer.advance_mut(received) };
    Ok(received)
}

/// A descriptor as an async runtime watches it for something to read.
pub(crate) fn watch_readable(file: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the descriptor stays open and the same for as long as the result holds the `Arc`.
    let watched = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
    Ok(watched?)
}

/// Has `f` called when the program ends by the end of `main` or by `exit`.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: this is the C library's `atexit`. Any function may be given to it that does not
    // unwind, and a Rust function of this type aborts instead.
    unsafe extern "C" {
        safe fn atexit(f: extern "C" fn()) -> std::ffi::c_int;
    }
    // Without memory for it the end of the program waits for nothing.
    let _ = atexit(f);
}

/// Whether a signal is ignored. The kernel would say so in a file as well, but that takes a worker's
/// start longer than all else that it does before its orders.
pub(crate) fn is_ignored(signal: rustix::process::Signal) -> bool {
    const IGNORE: usize = 1;
    // Where the handler stands in the C library's `struct sigaction`, in words.
    const HANDLER: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
        1
    } else {
        0
    };
    let mut action = [0usize; 64];
    // SAFETY: this is the C library's `sigaction`. Its second parameter may be null, and what it
    // writes to the third takes less than a third of the room that there is.
    unsafe extern "C" {
        fn sigaction(
            number: std::ffi::c_int,
            new: *const usize,
            old: *mut usize,
        ) -> std::ffi::c_int;
    }
    // SAFETY: as above. Nothing is changed, and all words are valid numbers.
    let done = unsafe { sigaction(signal.as_raw(), std::ptr::null(), action.as_mut_ptr()) };
    done == 0 && action[HANDLER] == IGNORE
}

/// Gives a signal the action it has by default.
pub(crate) fn default_action(of: rustix::process::Signal) {
    const DEFAULT: usize = 0;
    // SAFETY: this is the C library's `signal`, whose handlers are pointers and as large as that.
    // The default action is no handler, so that nothing is called that might not be sound.
    unsafe extern "C" {
        fn signal(number: std::ffi::c_int, action: usize) -> usize;
    }
    // SAFETY: as above. It fails for numbers that are no signals only.
    let _ = unsafe { signal(of.as_raw(), DEFAULT) };
}
