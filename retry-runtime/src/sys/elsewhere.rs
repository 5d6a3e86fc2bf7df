//! Substitutes on systems that have no worker processes.

use std::fs::File;
use std::io::{self, Read};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::aligned::AlignedBytes;

/// A descriptor of a connection, which does not exist here.
pub(crate) enum OwnedFd {}

/// Wakes a thread. It stays rung until the thread has waited.
#[derive(Default)]
pub(crate) struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    #[expect(clippy::unnecessary_wraps, reason = "it needs a descriptor on Linux")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    pub(crate) fn ring(&self) {
        *self.is_rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_one();
    }

    /// Waits until the bell rings. Returns false: there is no file.
    pub(crate) fn wait(&self, _: Option<&OwnedFd>) -> bool {
        let mut is_rung = self.is_rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *is_rung) {
            is_rung = self
                .rung
                .wait(is_rung)
                .unwrap_or_else(PoisonError::into_inner);
        }
        false
    }
}

/// Returns the time in nanoseconds since the first call.
pub(crate) fn monotonic_nanos() -> u64 {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    super::nanos_of(FIRST.elapsed())
}

pub(crate) fn coarse_nanos() -> u64 {
    monotonic_nanos()
}

/// Returns zero: no clock here tells of suspensions of the machine.
pub(crate) fn suspended() -> Duration {
    Duration::ZERO
}

pub(crate) fn ticks() -> u64 {
    monotonic_nanos()
}

pub(crate) fn fail_at_exit(_: i32) -> bool {
    false
}

pub(crate) fn exit_now(code: i32) -> ! {
    std::process::exit(code)
}

/// Returns false: the error numbers of other systems are not known.
pub(crate) fn is_for_want_of_resources(_: &io::Error) -> bool {
    false
}

/// Returns the usual stack size of a main thread.
pub(crate) fn main_stack_size() -> usize {
    8 * 1024 * 1024
}

pub(crate) fn advise_large_pages(_: *mut u8, _: usize) {}

/// Returns none: forks are told apart by their pids.
pub(crate) fn wiped_on_fork() -> Option<NonNull<AtomicU64>> {
    None
}

pub(crate) mod attributes {
    pub(crate) fn adopt() {}

    pub(crate) fn parallelism() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

pub(crate) mod terminal {
    use std::io::Write;

    pub(crate) fn size() -> Option<(usize, usize)> {
        None
    }

    pub(crate) fn takes_more() -> bool {
        true
    }

    pub(crate) fn write(text: &str) {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Signals, which keep their default action here.
pub(crate) mod signals {
    use std::io;
    use std::time::Duration;

    pub(crate) enum Signals {}

    impl Signals {
        pub(crate) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(crate) fn are_open() -> bool {
            false
        }

        pub(crate) fn next(&self, _: Option<Duration>) -> Option<i32> {
            match *self {}
        }
    }

    pub(crate) const QUESTION: i32 = -1;

    pub(crate) const SUSPEND: i32 = -2;

    pub(crate) fn suspend() {}

    pub(crate) fn catch() {}

    pub(crate) fn release() {}
}

/// Returns a name for this machine, as far as the environment has one.
pub(crate) fn host_name() -> String {
    let name = std::env::var("COMPUTERNAME").or_else(|_| std::env::var("HOSTNAME"));
    name.unwrap_or_else(|_| "localhost".to_owned())
}

/// Registers `f` to be called when the program ends by returning from `main` or by `exit`.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: this is the C library's `atexit`, as on Linux.
    unsafe extern "C" {
        safe fn atexit(f: extern "C" fn()) -> std::ffi::c_int;
    }
    let _ = atexit(f);
}

/// Memory that never changes, on the heap: there is no other process to share it with.
pub(crate) struct SealedMemory(AlignedBytes);

/// Memory that another process has staged data in.
pub(crate) enum StagedMemory {}

impl StagedMemory {
    pub(crate) fn map(_: &OwnedFd, _: u64) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn part(&self, _: usize, _: usize) -> Option<&[u8]> {
        match *self {}
    }
}

impl SealedMemory {
    pub(crate) fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        Self::filled(bytes.len(), |room| room.copy_from_slice(bytes))
    }

    pub(crate) fn filled(length: usize, fill: impl FnOnce(&mut [u8])) -> io::Result<Self> {
        let mut bytes = AlignedBytes::zeroed(length)?;
        fill(bytes.bytes_mut());
        Ok(Self(bytes))
    }

    pub(crate) fn read_from(file: &mut File, length: usize) -> io::Result<Self> {
        let mut result = Ok(());
        let memory = Self::filled(length, |room| result = file.read_exact(room))?;
        result.map(|()| memory)
    }

    pub(crate) fn is_copied(&self) -> bool {
        true
    }

    pub(crate) fn file(&self) -> Option<&Arc<OwnedFd>> {
        None
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}
