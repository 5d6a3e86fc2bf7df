//! Memory limits that the kernel enforces, where this process is permitted to set them.
//!
//! A worker with a limit gets a control group of its own below that of this process. In version 1 this
//! requires write permission there; in version 2 the memory controller must also be delegated. Without a
//! group, only precision is lost: the worker's resident memory is measured from time to time in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::sys::control_group::{self, Files, PREFIX};
use crate::sys::lineage::Found;
use crate::sys::{Charge, PerProcess};

/// Groups that could not be removed because a process in them was still ending.
static LEFT: PerProcess<Mutex<Vec<PathBuf>>> = PerProcess::new();

/// A control group with a memory limit for one worker.
pub(crate) struct Cgroup {
    directory: PathBuf,
    files: &'static Files,
    limit: u64,
    /// The bytes that the program has taken over from processes of the group.
    taken_over: Mutex<u64>,
}

/// Memory that the program has taken over from processes of a group.
struct TakenOver {
    group: Weak<Cgroup>,
    bytes: u64,
}

impl Cgroup {
    /// Creates a group for a worker. Returns `None` if that is not possible.
    pub(super) fn create(worker: u64, limit: u64) -> Option<Self> {
        let (parent, files) = control_group::own()?;
        remove_stale(&parent);
        let directory = parent.join(format!("{PREFIX}{}-{worker}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let group = Self {
            directory,
            files,
            limit,
            taken_over: Mutex::default(),
        };
        // On failure `group` is dropped, which removes the directory.
        fs::write(group.directory.join(files.limit), limit.to_string()).ok()?;
        // In version 2 the kernel then kills the whole group at once. In version 1 it kills one process,
        // which need not be the worker; the worker is then ended as soon as the kill is noticed.
        let _ = fs::write(group.directory.join("memory.oom.group"), "1");
        Some(group)
    }

    /// Moves a process into the group; everything that it starts will be in it as well.
    pub(super) fn admit(&self, pid: u32) -> bool {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).is_ok()
    }

    /// Raises the limit by memory that the program has taken over, until the returned value is dropped: the kernel counts
    /// it for the group that has made it, as long as it exists.
    pub(super) fn take_over(self: &Arc<Self>, bytes: u64) -> Charge {
        self.change_limit(|taken_over| taken_over.saturating_add(bytes));
        Box::new(TakenOver {
            group: Arc::downgrade(self),
            bytes,
        })
    }

    fn change_limit(&self, change: impl FnOnce(u64) -> u64) {
        let mut taken_over = self
            .taken_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *taken_over = change(*taken_over);
        let limit = self.limit.saturating_add(*taken_over);
        // Other workers may still map what the program has dropped. With a limit below what is in use, the kernel would
        // kill the group.
        let used = control_group::number(&self.directory, self.files.usage).unwrap_or(0);
        let limit = limit.max(used).to_string();
        let _ = fs::write(self.directory.join(self.files.limit), limit);
    }

    /// Kills all processes of the group, if the kernel can do so at once. Returns the processes that are
    /// still there, except the worker itself, as descendants for the token with index `of`.
    pub(super) fn kill(&self, worker: u32, of: usize) -> Vec<Found> {
        // Version 2 only.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        let others = self.processes().into_iter().filter(|pid| *pid != worker);
        let held: Vec<Found> = others.filter_map(|pid| Found::hold(pid, of)).collect();
        // A pid may have been reused by another process before it was pinned.
        let still = self.processes();
        held.into_iter()
            .filter(|found| still.contains(&found.pid))
            .collect()
    }

    fn processes(&self) -> Vec<u32> {
        let processes = fs::read_to_string(self.directory.join("cgroup.procs"));
        let processes = processes.unwrap_or_default();
        let pids = processes.lines().filter_map(|pid| pid.parse().ok());
        pids.collect()
    }

    /// Returns the limit and the peak if the kernel has killed a process of the group for its memory.
    pub(crate) fn out_of_memory(&self) -> Option<(u64, u64)> {
        let events = fs::read_to_string(self.directory.join(self.files.events)).ok()?;
        (kills(&events) > 0).then(|| {
            let peak = control_group::number(&self.directory, self.files.peak);
            (self.limit, peak.unwrap_or(self.limit))
        })
    }
}

impl Drop for TakenOver {
    fn drop(&mut self) {
        if let Some(group) = self.group.upgrade() {
            group.change_limit(|taken_over| taken_over.saturating_sub(self.bytes));
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let left = LEFT.get_or_init(Mutex::default);
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(std::mem::take(&mut self.directory));
        left.retain(|directory| fs::remove_dir(directory).is_err() && directory.exists());
    }
}

/// Removes the groups of programs that were killed.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Returns how often the kernel has killed for lack of memory, given the events file of either version.
fn kills(events: &str) -> u64 {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_from_either_file() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(kills("low 0\nmax 7\noom 1\noom_kill 1\n"), 1);
        assert_eq!(kills(""), 0);
    }
}
