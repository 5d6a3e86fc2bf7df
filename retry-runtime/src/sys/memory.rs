//! Measures the memory of processes: what the kernel cannot get back from them without ending them, which
//! is anonymous and shared memory, in RAM or swapped out. Pages of files are not counted, since the
//! kernel drops them when it needs the room: a process that reads a large file through a mapping
//! takes nothing by that.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use super::lineage::tree;

/// The pause after an exact measurement, in multiples of its duration.
const SPARED: u32 = 20;

/// Measures a worker with all that descends from it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The last exact measurement, and until when it counts.
    exact: Cell<Option<(u64, Instant)>>,
}

impl Meter {
    /// The bytes that a process takes with all that descends from it, exactly if that is more than
    /// `limit`, and at most so much otherwise.
    ///
    /// The sum of what each process takes counts memory twice that a forked child still shares with
    /// its parent. To tell that apart the kernel has to walk through all pages, 10 ms for each GiB, so
    /// that it is only asked where it matters, and not all the time.
    pub(crate) fn measure(&self, root: u32, limit: u64) -> u64 {
        let processes = tree(root);
        let sum = processes.iter().map(|pid| of(*pid)).sum();
        if sum <= limit {
            return sum;
        }
        let begun = Instant::now();
        if let Some((bytes, until)) = self.exact.get()
            && begun < until
        {
            return bytes;
        }
        let bytes = processes.iter().map(|pid| proportional(*pid)).sum();
        let spared = (begun.elapsed() * SPARED).min(Duration::from_secs(1));
        self.exact.set(Some((bytes, Instant::now() + spared)));
        bytes
    }
}

/// The bytes of this process alone. The memory that it shares with its parent for calls is not counted,
/// which is taken page by page as calls go through it, nor is any other shared memory.
pub(crate) fn own() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    sum_of(&status, &["RssAnon:", "VmSwap:"])
}

/// The bytes of one process, with all that it shares; nothing if it is gone.
fn of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    sum_of(&status, &["RssAnon:", "RssShmem:", "VmSwap:"])
}

/// Returns the memory of a process, with its share of what it has in common with others.
fn proportional(pid: u32) -> u64 {
    match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(rollup) => sum_of(&rollup, &["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]),
        // It is gone, or is another user's by now.
        Err(_) => of(pid),
    }
}

/// The sum of some fields of a file of the kernel's, which are in KiB.
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
    fn the_wanted_fields_are_added() {
        let text = "RssAnon:\t     100 kB\nRssFile:\t 5 kB\nRssShmem:\t 20 kB\nVmSwap:\t 3 kB\n";
        assert_eq!(sum_of(text, &["RssAnon:", "VmSwap:"]), 103 * 1024);
        assert_eq!(sum_of("", &["RssAnon:"]), 0);
    }

    #[test]
    fn the_sum_is_an_upper_bound_of_what_is_exact() {
        let this = std::process::id();
        let meter = Meter::default();
        let sum = meter.measure(this, u64::MAX);
        let exact = meter.measure(this, 0);
        assert!(exact > 0 && exact <= sum + (1 << 20), "{exact} of {sum}");
        // A measurement of a moment ago is used again.
        assert_eq!(meter.exact.get().unwrap().0, exact);
    }
}
