//! Processes, descriptors and threads as shown by `/proc`, and signals to processes.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal};

/// Returns the nanoseconds on the monotonic clock, which all processes of a machine share.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub state: char,
    #[expect(dead_code, reason = "shown by `Debug`")]
    pub name: String,
}

impl Process {
    fn read(directory: &Path) -> Option<Self> {
        let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let (pid, name) = head.split_once(" (")?;
        let mut fields = tail.split_whitespace();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
        })
    }

    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().bytes().all(|b| b.is_ascii_digit())
        })
        .filter_map(|entry| Process::read(&entry.path()))
        .collect()
}

/// Returns all processes that descend from this one, zombies included.
pub fn descendants() -> Vec<Process> {
    let own = std::process::id();
    let all = processes();
    let parents: HashMap<u32, u32> = all.iter().map(|p| (p.pid, p.parent)).collect();
    let descends = |process: &Process| {
        let mut pid = process.pid;
        while let Some(&parent) = parents.get(&pid) {
            if parent == own {
                return true;
            }
            pid = parent;
        }
        false
    };
    all.iter().filter(|p| descends(p)).cloned().collect()
}

pub fn has_variable(pid: u32, wanted: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .any(|variable| variable == wanted.as_bytes())
}

/// Returns the processes, except zombies, that have this variable in their environment.
pub fn processes_with(variable: &str) -> Vec<Process> {
    let mut all = processes();
    all.retain(|process| has_variable(process.pid, variable));
    all
}

/// Returns the children of this process that the library started: those of its spawning threads.
pub fn workers() -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let spawners = tasks.flatten().filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == "retry-spawner")
    });
    let children = spawners.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("children")).ok()?;
        Some(
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>(),
        )
    });
    children.flatten().collect()
}

/// Sends a signal to a child of this process. Returns false if the child no longer exists.
pub fn signal_child(pid: u32, signal: Signal) -> bool {
    let own = std::process::id();
    signal_if(pid, signal, |pid| {
        let process = Process::read(Path::new(&format!("/proc/{pid}")));
        process.is_some_and(|process| process.parent == own && !process.is_zombie())
    })
}

/// Sends a signal to a process if `is_right` confirms its identity.
pub fn signal_if(pid: u32, signal: Signal, is_right: impl FnOnce(u32) -> bool) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // The descriptor refers to the process, so the process ID cannot be reused between the check and the
    // signal.
    let Ok(pidfd) = rustix::process::pidfd_open(raw, PidfdFlags::empty()) else {
        return false;
    };
    is_right(pid) && rustix::process::pidfd_send_signal(&pidfd, signal).is_ok()
}

/// Returns the number of open descriptors of this process, without the one that reads the directory.
pub fn descriptors() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() - 1)
}

/// Returns the names of the threads of this process.
pub fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}

/// Returns the bytes of resident anonymous and shared memory of this process.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = |key: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((kibibytes("RssAnon:")? + kibibytes("RssShmem:")?) * 1024)
}

/// Describes the state of every thread and every descendant of this process.
pub fn dump() -> String {
    let mut text = String::from("threads:\n");
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let line = |directory: &Path| {
        format!(
            "{} in {} ({})",
            read(directory.join("comm")).trim_end(),
            read(directory.join("wchan")).trim_end(),
            read(directory.join("syscall")).trim_end(),
        )
    };
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    for task in tasks.flatten() {
        let _ = writeln!(
            text,
            "  {} {}",
            task.file_name().display(),
            line(&task.path())
        );
    }
    text.push_str("descendants:\n");
    for process in descendants() {
        let directory = format!("/proc/{}", process.pid);
        let _ = writeln!(text, "  {process:?} {}", line(Path::new(&directory)));
    }
    text
}

/// Returns the number of threads of this process and of its descendants.
pub fn tasks() -> usize {
    let of = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let descendants = descendants();
    let pids = descendants.iter().map(|process| process.pid);
    pids.chain([std::process::id()]).map(of).sum()
}
