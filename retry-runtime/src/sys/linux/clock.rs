//! Clocks.

use std::time::Duration;

use rustix::time::{ClockId, Timespec};

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

/// Returns the time in nanoseconds on the clock that goes on while the machine is suspended. All processes of a
/// machine share it.
pub(crate) fn boot_nanos() -> u64 {
    nanos(ClockId::Boottime)
}

/// Returns for how long the machine has been suspended since it was started.
pub(crate) fn suspended() -> Duration {
    let monotonic = monotonic_nanos();
    Duration::from_nanos(boot_nanos().saturating_sub(monotonic))
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
