//! Measures the memory of processes: the memory that the kernel can reclaim only by ending them, which is
//! anonymous and shared memory, in RAM or swapped out. File pages are not counted, since the kernel drops
//! them when it needs room: a process that reads a large file through a mapping occupies nothing by that.
//! Values that calls share are not counted either: they are the program's, however many workers map them.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use super::lineage::tree;
use super::sealed;

/// The pause after an exact measurement, in multiples of its duration, at most 1 s.
const SPARED: u32 = 20;

/// Measures a worker together with all its descendants.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The last exact measurement, and until when it is valid.
    exact: Cell<Option<(u64, Instant)>>,
}

impl Meter {
    /// Returns the bytes that a process and all its descendants occupy: exactly if that is more than `limit`,
    /// and otherwise an upper bound that is at most `limit`.
    ///
    /// Adding up the processes counts memory twice that a forked child still shares with its parent. To tell
    /// that apart, the kernel has to walk through all pages, which takes 10 ms per GiB. Therefore it is only
    /// asked to when the sum exceeds the limit, and not all the time.
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

/// Returns the bytes that this process occupies alone. Shared memory is not counted. That includes the memory
/// shared with the parent for calls, which is allocated page by page as calls go through it.
pub(crate) fn own() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    sum_of(&status, &["RssAnon:", "VmSwap:"])
}

/// Returns the bytes of one process including everything that it shares, or 0 if the process is gone.
fn of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    sum_of(&status, &["RssAnon:", "RssShmem:", "VmSwap:"])
}

/// Returns the bytes of one process, counting only its proportional share of memory that it has in common
/// with others.
fn proportional(pid: u32) -> u64 {
    match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(rollup) => {
            let all = sum_of(&rollup, &["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]);
            all.saturating_sub(of_shared_values(pid))
        }
        // The process is gone, or belongs to another user by now.
        Err(_) => of(pid),
    }
}

/// Returns the share that [`proportional`] has of values that calls share.
fn of_shared_values(pid: u32) -> u64 {
    let is_one = |mapping: &str| mapping.trim_end().ends_with(sealed::MAPPED_AS);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    if !maps.lines().any(is_one) {
        return 0;
    }
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    sum_of_mappings(&smaps, is_one)
}

/// Adds up the shares of some mappings in a kernel file, in which the line of each mapping comes before its fields.
fn sum_of_mappings(smaps: &str, which: impl Fn(&str) -> bool) -> u64 {
    let mut is_counted = false;
    let fields = smaps.lines().filter(|line| {
        let is_field = line
            .split_whitespace()
            .next()
            .is_some_and(|first| first.ends_with(':'));
        if !is_field {
            is_counted = which(line);
        }
        is_field && is_counted
    });
    fields.map(|line| sum_of(line, &["Pss:", "SwapPss:"])).sum()
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
    fn only_the_requested_mappings_are_added() {
        let smaps = "7f00-7f10 r--s 00000000 00:01 5 /memfd:a (deleted)\nRss: 9 kB\nPss: 4 kB\nSwapPss: 1 kB\n\
                     7f10-7f20 rw-p 00000000 00:00 0 \nPss: 100 kB\nVmFlags: rd wr\n\
                     7f20-7f30 r--s 00000000 00:01 6 /memfd:a (deleted)\nPss: 2 kB\n";
        let sum = sum_of_mappings(smaps, |mapping| mapping.ends_with("/memfd:a (deleted)"));
        assert_eq!(sum, 7 * 1024);
    }

    #[test]
    fn the_sum_is_an_upper_bound_of_the_exact_value() {
        let this = std::process::id();
        let meter = Meter::default();
        let sum = meter.measure(this, u64::MAX);
        let exact = meter.measure(this, 0);
        assert!(exact > 0 && exact <= sum + (1 << 20), "{exact} of {sum}");
        // A recent measurement is reused.
        assert_eq!(meter.exact.get().unwrap().0, exact);
    }
}
