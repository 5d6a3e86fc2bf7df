//! Advice about pages of memory.

use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Maps a page of memory that is zero in a forked child. Returns none if the kernel cannot do that.
pub(crate) fn wiped_on_fork() -> Option<NonNull<AtomicU64>> {
    let length = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps no other memory. The advice is
    // given for that mapping alone, before anything is stored there.
    unsafe {
        let start = mmap_anonymous(ptr::null_mut(), length, protection, MapFlags::PRIVATE).ok()?;
        if madvise(start, length, Advice::LinuxWipeOnFork).is_err() {
            let _ = munmap(start, length);
            return None;
        }
        NonNull::new(start.cast())
    }
}

/// Asks the kernel for large pages where this memory is.
pub(crate) fn advise_large_pages(start: *mut u8, length: usize) {
    let before = start.addr() % 4096;
    // SAFETY: this is advice, which changes neither what memory contains nor what may be done with it:
    // neither for this memory, nor for other data on its first page, nor for memory that is not mapped.
    let _ = unsafe {
        madvise(
            start.wrapping_sub(before).cast(),
            length + before,
            Advice::LinuxHugepage,
        )
    };
}
