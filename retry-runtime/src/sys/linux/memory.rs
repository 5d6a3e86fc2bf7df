//! Measures the memory of processes: the memory that the kernel can reclaim only by ending them, which is
//! anonymous and shared memory, in RAM or swapped out. File pages are not counted, since the kernel drops
//! them when it needs room: a process that reads a large file through a mapping occupies nothing by that.
//! Values that calls share are not counted either, which a worker was given: they are the program's, however many
//! workers map them.

use std::cell::Cell;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::control_group;
use super::lineage::tree;

/// The pause after an exact measurement, in multiples of its duration, at most 1 s.
const SPARED: u32 = 20;

/// Measures a worker together with all its descendants.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    limit: u64,
    /// The number of bytes of shared memory that the worker may have mapped and that do not count.
    given: Arc<AtomicU64>,
    /// The last exact measurement, and until when it is valid.
    exact: Cell<Option<(u64, Instant)>>,
}

impl Meter {
    /// Creates a meter for a worker with this limit. `given` counts the bytes of shared memory that the worker was
    /// given; `process/nested.rs` updates it.
    pub(crate) fn new(limit: u64, given: Arc<AtomicU64>) -> Self {
        Self {
            limit,
            given,
            exact: Cell::default(),
        }
    }

    /// Returns the bytes that a process and all its descendants occupy: exactly if that is more than the limit, and
    /// otherwise an upper bound that is at most the limit.
    ///
    /// `made` counts shared memory that the worker has made: it counts for the process only where that has looked at it.
    ///
    /// Memory that the worker was given counts as if all of its pages were resident. If some are not, the result is too
    /// small by as much of other memory that the worker shares with its descendants, at most.
    ///
    /// Adding up the processes counts memory twice that a forked child still shares with its parent. To tell
    /// that apart, the kernel has to walk through all pages, which takes 10 ms per GiB. Therefore it is only
    /// asked to when the sum exceeds the limit, and not all the time.
    pub(crate) fn measure(&self, root: u32, made: u64) -> u64 {
        let given = self.given.load(Ordering::Relaxed);
        let processes = tree(root);
        let total = |of: fn(u32, u64) -> Taken| {
            let all = processes.iter().map(|pid| of(*pid, given));
            let (own, shared) = all.fold((0, 0), |sum, one| (sum.0 + one.own, sum.1 + one.shared));
            own + made.max(shared)
        };
        let sum = total(of);
        if sum <= self.limit {
            return sum;
        }
        let begun = Instant::now();
        if let Some((bytes, until)) = self.exact.get()
            && begun < until
        {
            return bytes;
        }
        let bytes = total(proportional);
        let spared = (begun.elapsed() * SPARED).min(Duration::from_secs(1));
        self.exact.set(Some((bytes, Instant::now() + spared)));
        bytes
    }
}

/// Returns how many more bytes this process can take before the kernel ends processes to make room; `None` if that is
/// not known.
pub(super) fn available() -> Option<u64> {
    let fields = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = sum_of(&fields, &["MemAvailable:", "SwapFree:"]);
    let group = control_group::room().unwrap_or(u64::MAX);
    (machine > 0).then_some(machine.min(group))
}

/// Returns the bytes that this process occupies alone. Shared memory is not counted. That includes the memory
/// shared with the parent for calls, which is allocated page by page as calls go through it.
pub(crate) fn own() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    sum_of(&status, &["RssAnon:", "VmSwap:"])
}

/// The bytes that a process occupies.
#[derive(Default)]
struct Taken {
    own: u64,
    /// Shared memory that it was not given.
    shared: u64,
}

/// Returns what one process occupies including everything that it shares, or nothing if the process is gone.
fn of(pid: u32, given: u64) -> Taken {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Taken {
        own: sum_of(&status, &["RssAnon:", "VmSwap:"]),
        shared: shared(&status, given),
    }
}

/// Returns the shared memory in the status of a process, without what it was given.
fn shared(status: &str, given: u64) -> u64 {
    sum_of(status, &["RssShmem:"]).saturating_sub(given)
}

/// Returns what one process occupies, counting only its proportional share of memory that it has in common
/// with others.
fn proportional(pid: u32, given: u64) -> Taken {
    let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
        // The process is gone, or belongs to another user by now.
        return of(pid, given);
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Taken {
        own: sum_of(&rollup, &["Pss_Anon:", "SwapPss:"]),
        shared: sum_of(&rollup, &["Pss_Shmem:"]).min(shared(&status, given)),
    }
}

/// Adds up some fields of a kernel file, which are in KiB. Returns bytes.
fn sum_of(text: &str, keys: &[&str]) -> u64 {
    let fields = text.lines().filter_map(|line| {
        let value = keys.iter().find_map(|key| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    });
    fields.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_requested_fields_are_added() {
        let text = "RssAnon:\t     100 kB\nRssFile:\t 5 kB\nRssShmem:\t 20 kB\nVmSwap:\t 3 kB\n";
        assert_eq!(sum_of(text, &["RssAnon:", "VmSwap:"]), 103 * 1024);
        assert_eq!(sum_of("", &["RssAnon:"]), 0);
    }

    #[test]
    fn what_was_given_does_not_count() {
        let status = "RssAnon:\t 100 kB\nRssShmem:\t 20 kB\n";
        assert_eq!(shared(status, 0), 20 * 1024);
        assert_eq!(shared(status, 15 * 1024), 5 * 1024);
        assert_eq!(shared(status, 30 * 1024), 0);
    }

    #[test]
    fn the_sum_is_an_upper_bound_of_the_exact_value() {
        let this = std::process::id();
        let sum = Meter::new(u64::MAX, Arc::default()).measure(this, 0);
        let meter = Meter::new(0, Arc::default());
        let exact = meter.measure(this, 0);
        assert!(exact > 0 && exact <= sum + (1 << 20), "{exact} of {sum}");
        // A recent measurement is reused.
        assert_eq!(meter.exact.get().unwrap().0, exact);
    }
}
