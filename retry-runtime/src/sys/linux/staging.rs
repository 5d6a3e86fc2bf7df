//! Memory through which a process passes data to others, again and again.
//!
//! The process that has created it writes, and others only read: the kernel lets no other process write to the file or
//! map it for writing. What keeps the writer from changing bytes that a reader looks at is an agreement between the
//! two, since memory that the kernel has sealed could not be used again. The writer's side of it is a matter of
//! ownership: only the owner of a [`StagingBuffer`] can write, and the buffer is owned by its reader's calls until the
//! reader has answered them.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::SealFlags;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::sealed;
use super::{advise_large_pages, shared_memory};
use crate::sys::Mark;

/// The seals of the file. It is written to through the one mapping that was made before.
const SEALS: SealFlags = SealFlags::FUTURE_WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// From this size on, large pages pay off, in bytes.
const SPACIOUS: usize = 2 * 1024 * 1024;

/// The mapping with which the owners of buffers write.
struct Writable {
    start: NonNull<u8>,
    length: usize,
    /// Identifies the process. Its forks have no such mapping.
    mark: Mark,
}

// SAFETY: the memory is accessed through buffers alone, each of which owns a part of it.
unsafe impl Send for Writable {}

// SAFETY: as above.
unsafe impl Sync for Writable {}

/// A part of a file that this value alone refers to in this process.
pub(crate) struct StagingBuffer {
    mapping: Arc<Writable>,
    range: Range<usize>,
}

impl StagingBuffer {
    /// Creates a file that consists of buffers of this size, all of whose memory is there.
    ///
    /// # Errors
    ///
    /// If there is no memory or no descriptor for it, or the kernel is older than 5.1 and cannot keep others from
    /// writing.
    pub(crate) fn create(count: usize, size: usize) -> io::Result<(OwnedFd, Vec<Self>)> {
        let length = size.checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let file = sealed::create("retry-staging", length)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let start = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let mapping = Arc::new(Writable {
            start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            length,
            mark: Mark::current(),
        });
        // Before its memory is there, in case that the kernel cannot do it.
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        // A fork would write to the same memory.
        // SAFETY: the range is that of the mapping. The advice changes nothing in this process.
        unsafe { rustix::mm::madvise(start, length, Advice::LinuxDontFork)? };
        if length >= SPACIOUS {
            advise_large_pages(start.cast(), length);
        }
        sealed::allocate(&file, length)?;
        // One call instead of a fault for each page. Older kernels do not know it.
        // SAFETY: as above; the contents stay as they are.
        let _ = unsafe { rustix::mm::madvise(start, length, Advice::LinuxPopulateWrite) };
        let buffer = |place: usize| Self {
            mapping: Arc::clone(&mapping),
            range: place * size..(place + 1) * size,
        };
        Ok((file, (0..count).map(buffer).collect()))
    }

    /// Returns the position of the buffer in its file.
    pub(crate) fn offset(&self) -> usize {
        self.range.start
    }

    pub(crate) fn size(&self) -> usize {
        self.range.len()
    }

    /// Copies bytes to an offset in the buffer.
    ///
    /// # Panics
    ///
    /// Panics if they do not fit, and in a fork of the process that has created the buffer.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.range.len()),
            "more than the buffer has room for"
        );
        assert!(
            self.mapping.mark.is_current(),
            "a buffer of another process"
        );
        // SAFETY: the target is within the mapping, which this process has and which lives as long as `self`. Buffers of
        // a file do not overlap, none of them can be cloned, and nothing else in this process refers to the memory, so
        // that the source, a slice, is elsewhere. The other processes that map the file cannot write to it.
        unsafe {
            let start = self.mapping.start.as_ptr().add(self.range.start + offset);
            shared_memory::copy(bytes.as_ptr(), start, bytes.len());
        }
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        // In a fork there may be something else at this address.
        if self.mark.is_current() {
            // SAFETY: the mapping is this value's own, and the buffers that refer to it are gone.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

/// Memory that a process has staged data in, to be read here: by a worker, or by the program itself, which shows arguments
/// while it owns their buffer.
pub(crate) struct StagedMemory {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and this process only reads it.
unsafe impl Send for StagedMemory {}

// SAFETY: as above.
unsafe impl Sync for StagedMemory {}

impl StagedMemory {
    /// Maps the memory behind a file that a [`StagingBuffer`] is a part of. Refuses any other file.
    pub(crate) fn map(file: &OwnedFd, length: u64) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(file)?;
        if !seals.contains(SEALS) || length == 0 || !sealed::is_whole(file, length)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// Returns bytes that were staged for a call. The caller has to be reading the arguments of this call.
    pub(crate) fn part(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let end = offset.checked_add(length)?;
        if end > self.length {
            return None;
        }
        // SAFETY: the range is within the mapping, which lives as long as `self`, cannot shrink, and has all of its
        // memory. The process that has staged the bytes runs this same program. It writes to a buffer only once that has
        // no owner any more: the call owns it, and its entry among those that this process has to answer. What is read
        // here becomes a part of the arguments of the call, which are dropped before it is answered.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) })
    }
}

impl Drop for StagedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whatever borrows it has ended.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    const SIZE: usize = 64 * 1024;

    #[test]
    fn what_is_written_to_a_buffer_is_read_from_the_file() {
        let (file, mut buffers) = StagingBuffer::create(3, SIZE).unwrap();
        let memory = StagedMemory::map(&file, 3 * SIZE as u64).unwrap();
        for round in 1..4 {
            for (number, buffer) in (0..).zip(&mut buffers) {
                buffer.write(0, &[10 * round + number; SIZE]);
            }
            for (number, buffer) in (0..).zip(&buffers) {
                let part = memory.part(buffer.offset(), buffer.size()).unwrap();
                assert!(part.iter().all(|byte| *byte == 10 * round + number));
            }
        }
        let end = 3 * SIZE;
        assert_eq!(memory.part(end, 0), Some(&[][..]));
        for (offset, length) in [(end, 1), (0, end + 1), (1, usize::MAX), (usize::MAX, 1)] {
            assert_eq!(memory.part(offset, length), None);
        }
        // The last buffer keeps the mapping.
        let mut last = buffers.pop().unwrap();
        drop(buffers);
        last.write(SIZE - 1, &[99]);
        assert_eq!(memory.part(end - 1, 1), Some(&[99][..]));
    }

    #[test]
    fn a_reader_cannot_change_the_file() {
        let (file, buffers) = StagingBuffer::create(1, SIZE).unwrap();
        assert_eq!(rustix::io::pwrite(&file, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&file, 1 << 20), Err(Errno::PERM));
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel refuses the mapping.
        let mapped = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                SIZE,
                protection,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        assert_eq!(mapped, Err(Errno::PERM));
        drop(buffers);
    }

    #[test]
    fn other_files_are_refused() {
        let (file, _buffers) = StagingBuffer::create(1, SIZE).unwrap();
        for length in [0, SIZE as u64 - 1, SIZE as u64 + 1, u64::MAX] {
            assert!(StagedMemory::map(&file, length).is_err(), "{length}");
        }
        let unsealed = sealed::create("test", SIZE).unwrap();
        rustix::io::pwrite(&unsealed, &[1; SIZE], 0).unwrap();
        assert!(StagedMemory::map(&unsealed, SIZE as u64).is_err());
        // Its memory is not all there.
        let sparse = sealed::create("test", SIZE).unwrap();
        rustix::fs::fcntl_add_seals(&sparse, SEALS).unwrap();
        assert!(StagedMemory::map(&sparse, SIZE as u64).is_err());
    }

    #[test]
    fn too_much_memory_is_an_error() {
        assert!(StagingBuffer::create(2, usize::MAX / 2 + 1).is_err());
        assert!(StagingBuffer::create(1, 1 << 50).is_err());
    }
}
