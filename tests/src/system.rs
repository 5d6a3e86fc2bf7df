//! The state of this process and of its descendants, as reported by the operating system.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// A process as shown by `/proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process ID.
    pub pid: u32,
    /// The process ID of the parent.
    pub parent: u32,
    /// The ID of the process group.
    pub group: u32,
    /// The ID of the session.
    pub session: u32,
    /// The state: `R`, `S`, `Z` and so on.
    pub state: char,
    /// The name of the program.
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
            group: fields.next()?.parse().ok()?,
            session: fields.next()?.parse().ok()?,
        })
    }

    /// Returns whether the process has exited and has not been reaped.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }

    /// Returns whether the process is a worker of this process: a child that has the worker variable in its
    /// environment and runs the same program. A process that a worker started inherits the variable, and
    /// becomes a child of this process, the subreaper, when that worker dies.
    #[must_use]
    pub fn is_worker(&self) -> bool {
        let own = std::process::id();
        let variable = format!("RETRY_WORKER={own}");
        let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        self.parent == own
            && !self.is_zombie()
            && has_variable(self.pid, &variable)
            && program(&self.pid.to_string()) == program("self")
    }
}

/// Returns whether a worker of this process has not been assigned a function yet: the memory that it shares
/// with its parent comes with the assignment.
#[must_use]
pub fn is_standby(worker: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{worker}/maps"));
    // `maps` is empty while the process exits.
    maps.is_ok_and(|maps| !maps.is_empty() && !maps.contains("memfd:retry-worker"))
}

/// Returns whether calls and answers go through rings instead of the socket.
#[must_use]
pub fn has_rings() -> bool {
    std::env::var_os("RETRY_TRANSPORT").is_none_or(|transport| transport != "socket")
}

fn has_variable(pid: u32, wanted: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .unwrap_or_default()
        .split(|byte| *byte == 0)
        .any(|variable| variable == wanted.as_bytes())
}

/// Returns all processes of this machine.
pub(crate) fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().bytes().all(|b| b.is_ascii_digit())
        })
        .filter_map(|entry| Process::read(&entry.path()))
        .collect()
}

/// Returns all descendants of this process, zombies included.
#[must_use]
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

/// Returns the living workers of this process that have been assigned a function.
#[must_use]
pub fn workers() -> Vec<u32> {
    workers_and_standbys().0
}

/// Returns the standby processes of this process.
#[must_use]
pub fn standbys() -> Vec<u32> {
    workers_and_standbys().1
}

fn workers_and_standbys() -> (Vec<u32>, Vec<u32>) {
    let descendants = descendants();
    let all = descendants.iter().filter(|process| process.is_worker());
    let pids = all.map(|process| process.pid);
    pids.partition(|pid| !is_standby(*pid))
}

/// Returns the processes, except zombies, that have `token` in their environment.
#[must_use]
pub fn processes_with(token: &str) -> Vec<u32> {
    let all = processes();
    let pids = all.iter().map(|process| process.pid);
    pids.filter(|pid| has_variable(*pid, token)).collect()
}

/// Kills a child of this process. Returns false if the process is no longer a child.
pub fn kill_child(pid: u32) -> bool {
    kill_if(pid, || {
        let directory = format!("/proc/{pid}");
        Process::read(Path::new(&directory)).is_some_and(|p| p.parent == std::process::id())
    })
}

/// Kills all processes that have `token` in their environment.
pub(crate) fn kill_with(token: &str) {
    for pid in processes_with(token) {
        kill_if(pid, || has_variable(pid, token));
    }
}

/// Kills a process if `is_right` confirms that the process ID still belongs to it.
fn kill_if(pid: u32, is_right: impl FnOnce() -> bool) -> bool {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // The descriptor refers to the process, so the process ID cannot be reused between the check and the
    // signal.
    let Ok(pidfd) = rustix::process::pidfd_open(raw, PidfdFlags::empty()) else {
        return false;
    };
    is_right() && rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// Reaps a zombie that this process inherited as the subreaper.
pub(crate) fn reap(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Returns the number and the target of each open descriptor of this process.
#[must_use]
pub fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    let mut all: Vec<String> = entries
        .flatten()
        .map(|entry| {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            format!("{} {}", entry.file_name().display(), target.display())
        })
        // Skip the descriptor that reads the directory.
        .filter(|line| !(line.contains("/proc/") && line.ends_with("/fd")))
        .collect();
    all.sort();
    all
}

/// Closes a descriptor of this process, regardless of its owner.
pub fn close_descriptor(number: i32) {
    // SAFETY: not guaranteed. Tests run functions that do this to their worker, and rely on nothing that
    // owned the descriptor.
    #[expect(unsafe_code, reason = "no safe function does this")]
    unsafe {
        rustix::io::close(number);
    }
}

/// Forks this process without its other threads. Returns `None` in the child, and the child's process ID in
/// the parent.
///
/// # Panics
///
/// If the process cannot be created.
#[must_use]
#[expect(unsafe_code, reason = "no safe function forks")]
pub fn fork() -> Option<u32> {
    // SAFETY: this is the C library's `fork`.
    unsafe extern "C" {
        fn fork() -> std::ffi::c_int;
    }
    // SAFETY: not guaranteed. Tests fork at any moment, with other threads in the middle of any operation.
    let pid = unsafe { fork() };
    let pid = u32::try_from(pid).expect("a process");
    (pid != 0).then_some(pid)
}

/// Runs `child` in a fork of this process, which exits with its result, or with 101 if it panics.
#[expect(unsafe_code, reason = "nothing of the test may run on in the child")]
pub fn fork_with(child: impl FnOnce() -> i32) -> Forked {
    if let Some(pid) = fork() {
        return Forked(pid);
    }
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
    // SAFETY: this is the C library's `_exit`, which may be called at any moment.
    unsafe extern "C" {
        safe fn _exit(code: std::ffi::c_int) -> !;
    }
    _exit(ended.unwrap_or(101))
}

/// A forked child.
#[must_use]
pub struct Forked(pub u32);

impl Forked {
    /// Waits for the child to exit. Returns its exit code, or `None` if a signal ended it.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        let (_, status) = rustix::process::waitpid(pid, WaitOptions::empty()).ok()??;
        status.exit_status()
    }
}

/// Returns the names of the threads of this process.
#[must_use]
pub fn threads() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    names.sort();
    names
}

/// Returns the bytes of resident memory of this process that are not backed by a file.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    (kibibytes("RssAnon:") + kibibytes("RssShmem:")) * 1024
}

/// Makes the allocator return free memory to the system. It keeps more of it the larger the values were that it had
/// to allocate.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "no safe function does this")
)]
pub(crate) fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: this is a function of the C library that may be called at any time.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}

/// Describes the state of every thread and every descendant of this process.
pub(crate) fn dump() -> String {
    let mut text = String::from("threads:\n");
    let read = |path: std::path::PathBuf| {
        std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
    };
    let interesting = ["State:", "voluntary_ctxt", "nonvoluntary_ctxt", "SigPnd:"];
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    for task in tasks.flatten() {
        let directory = task.path();
        let _ = writeln!(
            text,
            "  {} {} in {} ({})",
            task.file_name().display(),
            read(directory.join("comm")).trim_end(),
            read(directory.join("wchan")).trim_end(),
            read(directory.join("syscall")).trim_end(),
        );
        for line in read(directory.join("status")).lines() {
            if interesting.iter().any(|key| line.starts_with(key)) {
                let _ = writeln!(text, "      {line}");
            }
        }
    }
    text.push_str("descendants:\n");
    for process in descendants() {
        let directory = Path::new("/proc").join(process.pid.to_string());
        let _ = writeln!(
            text,
            "  {process:?} worker: {} in {}",
            process.is_worker(),
            read(directory.join("wchan")).trim_end(),
        );
    }
    text.push_str("descriptors:\n");
    for line in descriptors() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// Waits until `holds` returns true.
///
/// # Panics
///
/// If `holds` does not return true within `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
