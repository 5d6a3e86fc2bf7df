//! Memory that a parent and its worker share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
#[cfg(not(target_arch = "x86_64"))]
use std::sync::atomic::AtomicU8;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BufMut;
use rustix::fs::SealFlags;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::thread::futex;

use super::clock::timespec;
use super::sealed;

/// Memory shared by a parent and its worker.
///
/// The memory is sealed against resizing, so that a corrupted worker cannot make the parent fault by
/// truncating it.
pub(crate) struct SharedMemory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, is not tied to a thread, and its bytes are only accessed
// atomically.
unsafe impl Send for SharedMemory {}

// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Creates new memory. Also returns the descriptor with which another process can map it.
    pub(crate) fn create(length: usize) -> io::Result<(Self, OwnedFd)> {
        let file = sealed::create("retry-worker", length)?;
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

    /// Wakes all threads that sleep at an offset, of all processes.
    pub(crate) fn wake_all(&self, offset: usize) {
        let _ = futex::wake(
            self.half_word(offset),
            futex::Flags::empty(),
            i32::MAX.cast_unsigned(),
        );
    }

    /// Returns the 32-bit word at an offset in bytes.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset.saturating_add(4) <= self.length);
        // SAFETY: as in `word`; no bytes are accessed through both functions.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Writes bytes at an offset. A process that reads them meanwhile gets any mixture of old and new ones.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset.saturating_add(bytes.len()) <= self.length);
        // SAFETY: the target is inside the mapping, whose bytes are only accessed atomically, and the source is
        // a slice.
        unsafe { copy(bytes.as_ptr(), self.start.as_ptr().add(offset), bytes.len()) };
    }

    /// Copies bytes out of the memory. They may be anything: callers validate the copy.
    pub(crate) fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        self.read_into(offset, length, &mut bytes);
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
            // SAFETY: the source is inside the mapping, whose bytes are only accessed atomically; the target
            // has room for as many bytes, which this copy initialises.
            unsafe {
                copy(self.start.as_ptr().add(at), room.as_mut_ptr(), length);
                buffer.advance_mut(length);
            }
            at += length;
        }
    }
}

/// Copies bytes between shared memory and memory of this process, each with a relaxed atomic access. Rust has
/// no such copy yet (RFC 3301), and `ptr::copy` must not race with the other process. For bytes that are in no cache this
/// is also faster: the processor does not read what is overwritten.
///
/// # Safety
///
/// The source must be readable and the target writable for `length` bytes. They must not overlap.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the instruction accesses nothing but these bytes. The direction flag is clear in Rust code.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies bytes as above, eight at a time.
///
/// # Safety
///
/// As above.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    let byte = |at: usize| {
        // SAFETY: both are within their bytes, and a byte needs no alignment.
        unsafe {
            let (from, to) = (from.add(at).cast_mut(), to.add(at));
            let byte = AtomicU8::from_ptr(from).load(Ordering::Relaxed);
            AtomicU8::from_ptr(to).store(byte, Ordering::Relaxed);
        }
    };
    let is_even = from.align_offset(8) == to.align_offset(8);
    let head = if is_even {
        from.align_offset(8).min(length)
    } else {
        length
    };
    let words = (length - head) / 8;
    (0..head).for_each(byte);
    for word in 0..words {
        // SAFETY: as above; after the head both are aligned.
        unsafe {
            let (from, to) = (from.add(head).cast_mut().cast(), to.add(head).cast());
            let bytes = AtomicU64::from_ptr(from.add(word)).load(Ordering::Relaxed);
            AtomicU64::from_ptr(to.add(word)).store(bytes, Ordering::Relaxed);
        }
    }
    (head + words * 8..length).for_each(byte);
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and all borrows have ended. On failure the
        // memory stays mapped, which is harmless.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Reads a word as the other side last stored it.
pub(crate) fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}
