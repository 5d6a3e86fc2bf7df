//! Memory that never changes, which several processes can map.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::process::Resource;

use super::memory;
use crate::sys::aligned::AlignedBytes;

/// From this size on, memory has a file, with which other processes map it. Less is on the heap, and is copied to them,
/// since each file takes a descriptor and each mapping a page.
pub(crate) const WITH_FILE: usize = 32 * 1024;

/// Memory that is read only, for ever and for everyone.
///
/// Its file is sealed: nothing can write to it any more, map it for writing, or change its size. So a process that
/// maps it can rely on its contents, whoever made it.
pub(crate) struct SealedMemory {
    memory: Memory,
    file: Option<Arc<OwnedFd>>,
    /// Dropped after the memory.
    charge: Option<Charge>,
}

enum Memory {
    Mapped(Mapping),
    Heap(AlignedBytes),
}

/// Ends what is counted for memory from another process, when that is dropped.
pub(crate) type Charge = Box<dyn Any + Send + Sync>;

/// A mapping of a whole file, which is not empty.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone, and is never written to once it can be shared.
unsafe impl Send for Mapping {}

// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// The unit in which the kernel counts the memory of a file, in bytes.
const BLOCK_BYTES: u64 = 512;

/// From this size on, memory is compared with what is available before it is taken. Asking takes as long as taking
/// 100 KiB.
const CHECKED: usize = 4 * 1024 * 1024;

/// The name of files, which mappings show as well.
const NAME: &str = "retry-shared";

/// The seals with which the contents of a file never change. The last one keeps the others.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

impl SealedMemory {
    /// Returns memory with a copy of these bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        if bytes.len() < WITH_FILE {
            return Self::filled(bytes.len(), |room| room.copy_from_slice(bytes));
        }
        let file = create(NAME, bytes.len())?;
        let mut at = 0;
        // Writing is faster than copying to a mapping, whose pages would be cleared first, one fault each.
        while at < bytes.len() {
            match rustix::io::pwrite(&file, &bytes[at..], at as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => at += written,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Self::seal(file, bytes.len())
    }

    /// Returns memory of this size, which `fill` fills. It is zero before.
    pub(crate) fn filled(length: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Self> {
        if length < WITH_FILE {
            let mut bytes = AlignedBytes::zeroed(length)?;
            fill(bytes.bytes_mut());
            return Ok(Self::of(Memory::Heap(bytes), None));
        }
        let file = create(NAME, length)?;
        allocate(&file, length)?;
        let writable = Mapping::of(&file, length, ProtFlags::READ | ProtFlags::WRITE)?;
        // A child that the program forks meanwhile would keep a mapping for writing, with which a file cannot be sealed.
        // SAFETY: the advice changes nothing in this process.
        let _ = unsafe {
            rustix::mm::madvise(
                writable.start.as_ptr().cast(),
                length,
                Advice::LinuxDontFork,
            )
        };
        // SAFETY: the mapping is as long, writable, and known to this function alone.
        fill(unsafe { std::slice::from_raw_parts_mut(writable.start.as_ptr(), length) });
        // A file cannot be sealed while it is mapped for writing.
        drop(writable);
        Self::seal(file, length)
    }

    /// Returns memory with the contents of a file, as far as `length`.
    pub(crate) fn read_from(file: &mut File, length: usize) -> io::Result<Self> {
        let mut result = Ok(());
        let memory = Self::filled(length, |room| result = file.read_exact(room))?;
        result.map(|()| memory)
    }

    /// Maps the memory behind a file from another process. Refuses a file that could still change, and one whose memory
    /// is not all there: reading it would take memory of this process.
    pub(crate) fn receive(file: OwnedFd, length: u64) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        let size = usize::try_from(length);
        match size {
            Ok(size) if size > 0 && seals.contains(SEALS) && is_whole(&file, length)? => {
                let mapping = Mapping::of(&file, size, ProtFlags::READ)?;
                Ok(Self::of(Memory::Mapped(mapping), Some(Arc::new(file))))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Keeps a charge until the memory is gone from this process.
    pub(crate) fn charged(mut self, charge: Option<Charge>) -> Self {
        self.charge = charge;
        self
    }

    /// Returns whether the memory has no file, so that other processes get a copy.
    pub(crate) fn is_copied(&self) -> bool {
        self.file.is_none()
    }

    /// Returns the memory without its file, for a process that does not pass it on.
    pub(crate) fn without_file(mut self) -> Self {
        self.file = None;
        self
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: the mapping is as long, and lives as long as `self`. Its file is sealed, so that nothing changes it.
            Memory::Mapped(mapping) => unsafe {
                std::slice::from_raw_parts(mapping.start.as_ptr(), mapping.length)
            },
            Memory::Heap(bytes) => bytes.bytes(),
        }
    }

    /// Returns the file with which another process can map the memory, if it has one.
    pub(crate) fn file(&self) -> Option<&Arc<OwnedFd>> {
        self.file.as_ref()
    }

    fn seal(file: OwnedFd, length: usize) -> io::Result<Self> {
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        let mapping = Mapping::of(&file, length, ProtFlags::READ)?;
        Ok(Self::of(Memory::Mapped(mapping), Some(Arc::new(file))))
    }

    fn of(memory: Memory, file: Option<Arc<OwnedFd>>) -> Self {
        Self {
            memory,
            file,
            charge: None,
        }
    }
}

impl Mapping {
    fn of(file: &OwnedFd, length: usize, protection: ProtFlags) -> io::Result<Self> {
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
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and whatever borrows it has ended.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Allocates the memory of a file. Otherwise a lack of memory would end the program at its first access to a page.
pub(super) fn allocate(file: &OwnedFd, length: usize) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length as u64) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns whether a file has this length, and memory for all of it.
pub(super) fn is_whole(file: &OwnedFd, length: u64) -> io::Result<bool> {
    if u64::try_from(rustix::fs::fstat(file)?.st_size) != Ok(length) {
        return Ok(false);
    }
    // A file may have memory beyond its end, which would count in place of what is missing. Setting the length frees it.
    rustix::fs::ftruncate(file, length)?;
    let blocks = u64::try_from(rustix::fs::fstat(file)?.st_blocks);
    Ok(blocks.is_ok_and(|blocks| blocks * BLOCK_BYTES >= length))
}

/// Creates a file of this size in memory, which can be sealed.
pub(super) fn create(name: &str, length: usize) -> io::Result<OwnedFd> {
    // Beyond the file size limit, writing would raise a signal that ends the program.
    let limit = rustix::process::getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| limit < length as u64) {
        return Err(Errno::FBIG.into());
    }
    // The kernel would end processes, this one or others, to make room.
    if length >= CHECKED && memory::available().is_some_and(|bytes| bytes < length as u64) {
        return Err(Errno::NOMEM.into());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(name, flags)?;
    rustix::fs::ftruncate(&file, length as u64)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn memory_of_any_size_has_what_was_put_into_it() {
        for length in [
            0,
            1,
            PAGE - 1,
            PAGE,
            PAGE + 1,
            WITH_FILE - 1,
            WITH_FILE,
            3 * WITH_FILE + 5,
        ] {
            let expected = pattern(length);
            let copied = SealedMemory::copy_of(&expected).unwrap();
            let filled = SealedMemory::filled(length, |room| room.copy_from_slice(&expected));
            for memory in [copied, filled.unwrap()] {
                assert_eq!(memory.bytes(), expected);
                assert_eq!(memory.bytes().as_ptr().align_offset(64), 0);
                assert_eq!(memory.file().is_some(), length >= WITH_FILE);
                if let Some(file) = memory.file() {
                    let file = file.try_clone().unwrap();
                    let other = SealedMemory::receive(file, length as u64).unwrap();
                    assert_eq!(other.bytes(), expected);
                }
            }
        }
    }

    #[test]
    fn nothing_can_change_sealed_memory() {
        let memory = SealedMemory::copy_of(&pattern(WITH_FILE)).unwrap();
        let file = memory.file().unwrap();
        assert_eq!(rustix::io::pwrite(file, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(file, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(file, 1 << 20), Err(Errno::PERM));
        assert!(rustix::fs::fcntl_add_seals(file, SealFlags::WRITE).is_err());
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        assert!(Mapping::of(file, WITH_FILE, protection).is_err());
    }

    #[test]
    fn a_file_that_could_change_is_refused() {
        let seals = [
            SealFlags::empty(),
            SealFlags::WRITE,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SEAL,
            SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        ];
        for seals in seals {
            let file = create(NAME, PAGE).unwrap();
            rustix::io::pwrite(&file, &[1; PAGE], 0).unwrap();
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            assert!(SealedMemory::receive(file, 4096).is_err(), "{seals:?}");
        }
        for length in [0, 4095, 4097, u64::MAX] {
            let file = create(NAME, PAGE).unwrap();
            rustix::io::pwrite(&file, &[1; PAGE], 0).unwrap();
            rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
            assert!(SealedMemory::receive(file, length).is_err(), "{length}");
        }
        let other = OwnedFd::from(File::open("/proc/self/exe").unwrap());
        assert!(SealedMemory::receive(other, 4096).is_err());
    }

    #[test]
    fn a_file_whose_memory_is_not_there_is_refused() {
        let file = create(NAME, 1 << 30).unwrap();
        rustix::io::pwrite(&file, &[1; PAGE], 0).unwrap();
        rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
        assert!(SealedMemory::receive(file, 1 << 30).is_err());

        // As much memory beyond the end of the file does not count.
        let file = create(NAME, 8 * PAGE).unwrap();
        let beyond = FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, beyond, 8 * PAGE as u64, 8 * PAGE as u64).unwrap();
        rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
        assert!(SealedMemory::receive(file, 8 * PAGE as u64).is_err());
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        for length in [1 << 44, usize::MAX / 2] {
            let filled = SealedMemory::filled(length, |_| panic!("there is so much"));
            assert!(filled.is_err(), "{length}");
        }
    }
}
