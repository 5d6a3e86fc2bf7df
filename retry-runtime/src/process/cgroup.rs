//! Memory limits that the kernel enforces, where this process is permitted to set them.
//!
//! A worker with a limit gets a control group of its own below that of this process. In version 1 this
//! requires write permission there; in version 2 the memory controller must also be delegated. Without a
//! group, only precision is lost: the worker's resident memory is measured from time to time in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::sys::PerProcess;
use crate::sys::lineage::Found;

/// The prefix of the runtime's group names. The parent's pid and the worker's number follow.
const PREFIX: &str = "retry-";

/// Groups that could not be removed because a process in them was still ending.
static LEFT: PerProcess<Mutex<Vec<PathBuf>>> = PerProcess::new();

/// The file names of a group, which differ between the versions.
struct Files {
    limit: &'static str,
    peak: &'static str,
    events: &'static str,
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
};

const VERSION_2: Files = Files {
    limit: "memory.max",
    peak: "memory.peak",
    events: "memory.events",
};

/// A control group with a memory limit for one worker.
pub(crate) struct Cgroup {
    directory: PathBuf,
    files: &'static Files,
    limit: u64,
}

impl Cgroup {
    /// Creates a group for a worker. Returns `None` if that is not possible.
    pub(super) fn create(worker: u64, limit: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let (parent, files) = own(&groups, &mounts)?;
        remove_stale(&parent);
        let directory = parent.join(format!("{PREFIX}{}-{worker}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        let group = Self {
            directory,
            files,
            limit,
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
            let peak = fs::read_to_string(self.directory.join(self.files.peak)).ok();
            let peak = peak.and_then(|peak| peak.trim().parse().ok());
            (self.limit, peak.unwrap_or(self.limit))
        })
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

/// Returns the directory of this process's memory group, and the file names of its version.
fn own(groups: &str, mounts: &str) -> Option<(PathBuf, &'static Files)> {
    let has = |list: &str, wanted: &str| list.split(',').any(|one| one == wanted);
    let mount = |kind: &str, option: Option<&str>| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, is, options) = (fields.next()?, fields.next()?, fields.next()?);
            (is == kind && option.is_none_or(|option| has(options, option))).then_some(at)
        })
    };
    let group = |controller: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            has(controllers, controller).then_some(path)
        })
    };
    let (mount, group, files) = match (group("memory"), mount("cgroup", Some("memory"))) {
        (Some(group), Some(mount)) => (mount, group, &VERSION_1),
        _ => (mount("cgroup2", None)?, group("")?, &VERSION_2),
    };
    Some((Path::new(mount).join(group.trim_start_matches('/')), files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let groups = "4:memory:/box/7\n1:cpu:/\n0::/\n";
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let (directory, files) = own(groups, mounts).unwrap();
        assert_eq!(directory, Path::new("/sys/fs/cgroup/memory/box/7"));
        assert_eq!(files.limit, VERSION_1.limit);
        let (directory, files) = own(
            "0::/user.slice/app\n",
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
        )
        .unwrap();
        assert_eq!(directory, Path::new("/sys/fs/cgroup/user.slice/app"));
        assert_eq!(files.limit, VERSION_2.limit);
        assert!(own("0::/\n", "proc /proc proc rw 0 0\n").is_none());
    }

    #[test]
    fn kills_are_read_from_either_file() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(kills("low 0\nmax 7\noom 1\noom_kill 1\n"), 1);
        assert_eq!(kills(""), 0);
    }
}
