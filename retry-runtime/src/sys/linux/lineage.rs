//! Finds all processes that descend from a worker, even if they have left its process group.
//!
//! A worker leads a process group, which is killed as a whole. A process that leaves the group, such as a
//! daemon, is recognised by its environment: each worker is started with a token that all its descendants
//! inherit and that `/proc` shows. If a function starts a program that has workers of its own, their tokens
//! follow the token of the worker that runs the function, so that the end of the outer worker also ends the
//! inner ones.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use rustix::process::{PidfdFlags, Signal};

use crate::sys::{self, PerProcess};

/// The environment variable with the tokens.
pub(crate) const VARIABLE: &str = "RETRY_LINEAGE";

/// Separates a worker's token from those of outer workers.
const SEPARATOR: char = ':';

/// The time to wait for killed processes to end before looking again.
const KILL_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The time to wait for processes that are loading a program.
const LOADING: Duration = Duration::from_millis(50);

/// The time for which a worker looks for its descendants before it ends itself.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// The time for which a worker waits for another one that sweeps up, which may have been stopped.
const TURN: Duration = Duration::from_secs(2);

/// The mark of one worker's descendants. It is unique on the machine: it consists of the parent's pid, the
/// time of the parent's first worker, and the worker's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Creates a token for a worker of this process.
    pub(crate) fn new() -> Self {
        static PROGRAM: PerProcess<String> = PerProcess::new();
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let program = PROGRAM.get_or_init(|| {
            let (pid, begun) = (std::process::id(), sys::monotonic_nanos());
            format!("{pid}.{begun:x}.")
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{program}{number}").into())
    }

    /// Returns the value of the environment variable for the worker.
    pub(crate) fn variable(&self) -> OsString {
        match std::env::var(VARIABLE) {
            Ok(before) if !before.is_empty() => format!("{before}{SEPARATOR}{}", self.0).into(),
            _ => self.0.to_string().into(),
        }
    }

    /// Returns the prefix that the tokens of all workers of one process share.
    fn program(&self) -> &str {
        let end = self.0.rfind('.').map_or(0, |dot| dot + 1);
        &self.0[..end]
    }
}

/// A process that was found. The descriptor pins the process, so that it cannot be confused with another
/// process that reuses its pid before it is killed.
pub(crate) struct Found {
    pub(crate) pid: u32,
    /// The index of the process's token among the tokens that were looked for.
    pub(crate) of: usize,
    pidfd: OwnedFd,
}

impl Found {
    /// Pins a process by opening a descriptor of it.
    pub(crate) fn hold(pid: u32, of: usize) -> Option<Self> {
        let raw = sys::pid(pid)?;
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).ok()?;
        Some(Self { pid, of, pidfd })
    }

    /// Returns the same process as a descendant of another worker.
    pub(crate) fn again(&self, of: usize) -> Option<Self> {
        let pidfd = self.pidfd.try_clone().ok()?;
        Some(Self {
            pid: self.pid,
            of,
            pidfd,
        })
    }

    fn has_ended(&self) -> bool {
        has_ended(&self.pidfd)
    }

    /// Kills the process, and its process group if it leads one.
    fn kill(&self) -> rustix::io::Result<()> {
        let pid = sys::pid(self.pid);
        if let Some(pid) = pid
            && group(self.pid) == Some(self.pid)
            && !self.has_ended()
        {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Err(Errno::SRCH) => Ok(()),
            sent => sent,
        }
    }
}

/// The result of a scan of all processes.
#[derive(Default)]
pub(crate) struct Look {
    pub(crate) found: Vec<Found>,
    /// Processes whose environment this process is not permitted to see.
    pub(crate) hidden: Vec<u32>,
}

/// Looks for the processes that descend from the workers of these tokens.
pub(crate) fn look_for(tokens: &[Token]) -> Look {
    look(|token| tokens.iter().position(|wanted| *wanted.0 == *token))
}

fn look(which: impl Fn(&str) -> Option<usize>) -> Look {
    let own = std::process::id();
    let mut look = Look::default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut unknown: Vec<u32> = pids.filter(|pid| *pid != own).collect();
    let until = Instant::now() + LOADING;
    loop {
        unknown.retain(|pid| look.at(*pid, &which) == Known::NotYet);
        if unknown.is_empty() || Instant::now() >= until {
            return look;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says if the worker that a process descends from is known.
#[derive(PartialEq, Eq)]
enum Known {
    Yes,
    /// The process has begun to load another program. The kernel shows no environment until it has placed it
    /// in memory.
    NotYet,
}

impl Look {
    /// Examines one process.
    fn at(&mut self, pid: u32, which: &impl Fn(&str) -> Option<usize>) -> Known {
        let variables = match environment(pid) {
            Ok(Some(variables)) => variables,
            Ok(None) => return Known::NotYet,
            Err(error) => {
                // Any other error means that the process has ended.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.hidden.push(pid);
                }
                return Known::Yes;
            }
        };
        if let Some(of) = token_in(&variables, which)
            && let Some(held) = Found::hold(pid, of)
        {
            // Check again now that the process is pinned: its pid may have been reused before. A process that
            // has begun to load another program meanwhile is checked again once that is done.
            match environment(pid) {
                _ if held.has_ended() => {}
                Ok(Some(variables)) if token_in(&variables, which) == Some(of) => {
                    self.found.push(held);
                }
                Ok(None) => return Known::NotYet,
                Ok(Some(_)) | Err(_) => {}
            }
        }
        Known::Yes
    }
}

/// Returns the environment of a process, or `None` while the process loads a program.
fn environment(pid: u32) -> io::Result<Option<Vec<u8>>> {
    let read = || fs::read(format!("/proc/{pid}/environ"));
    let variables = read()?;
    if !variables.is_empty() {
        return Ok(Some(variables));
    }
    if is_loading(pid) {
        return Ok(None);
    }
    // Read it again: the process may have finished loading since the first read.
    read().map(Some)
}

/// Returns whether a process without an environment is loading a program: it has a program, unlike a kernel
/// thread or a process that has ended, but no arguments yet.
fn is_loading(pid: u32) -> bool {
    let has_program = fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    has_program && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty())
}

fn token_in(environment: &[u8], which: impl Fn(&str) -> Option<usize>) -> Option<usize> {
    let mut variables = environment.split(|byte| *byte == 0);
    let tokens = variables.find_map(|variable| {
        let value = variable.strip_prefix(VARIABLE.as_bytes())?;
        std::str::from_utf8(value.strip_prefix(b"=")?).ok()
    })?;
    tokens.split(SEPARATOR).find_map(which)
}

/// Kills the processes that `look` finds, repeatedly until it finds no more, because they may start others
/// meanwhile. Returns the processes that this process may not kill, and those that have not ended within the
/// time.
pub(crate) fn kill_all(
    patience: Duration,
    mut look: impl FnMut() -> Vec<Found>,
) -> Vec<(u32, usize)> {
    let until = Instant::now() + patience;
    let mut refused = BTreeSet::new();
    loop {
        let mut found = look();
        found.retain(|one| !refused.contains(&(one.pid, one.of)) && !one.has_ended());
        if found.is_empty() {
            break;
        }
        let late = Instant::now() >= until;
        for one in &found {
            if one.kill().is_err() || late {
                refused.insert((one.pid, one.of));
            }
        }
        let pause = Instant::now() + KILL_CHECK_INTERVAL;
        while Instant::now() < pause && !found.iter().all(Found::has_ended) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    refused.into_iter().collect()
}

/// Returns a process and all processes that descend from it through living parents.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children(*pid));
        next += 1;
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|children| {
            let pids = children.split_whitespace();
            pids.filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// Pins the processes that descend from a living process and have left its group.
pub(crate) fn outside_of_group(leader: u32) -> Vec<Found> {
    let descendants = tree(leader).into_iter().skip(1);
    let escaped = descendants.filter(|pid| group(*pid).is_some_and(|group| group != leader));
    escaped.filter_map(|pid| Found::hold(pid, 0)).collect()
}

/// Returns the number of a process's group, given the name that `/proc` has for the process. It is 0 if the
/// group does not exist in this pid namespace.
pub(crate) fn group(pid: impl fmt::Display) -> Option<u32> {
    stat_field(format!("/proc/{pid}/stat"), 5)
}

/// Returns a field of a `stat` file, by its number in `proc_pid_stat(5)`. It has to come after the name, which is
/// the second one and may contain anything.
fn stat_field(path: impl AsRef<Path>, number: usize) -> Option<u32> {
    let stat = fs::read_to_string(path).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

/// This worker's own token, and its parent's pid.
static OWN: OnceLock<(Token, u32)> = OnceLock::new();

/// Records the token of this process, which is a worker of `parent`. Call it before user code runs, which
/// might change the environment.
pub(crate) fn note_own(parent: u32) {
    let tokens = std::env::var(VARIABLE).unwrap_or_default();
    if let Some(own) = tokens
        .rsplit(SEPARATOR)
        .next()
        .filter(|own| !own.is_empty())
    {
        let _ = OWN.set((Token(own.into()), parent));
    }
}

/// Kills the descendants of this worker, which is about to end, that are not in its process group. If its
/// parent is gone, does so for all workers of that parent: the parent may have killed some without having
/// swept up after them.
pub(crate) fn kill_own() {
    let Some((token, parent)) = OWN.get() else {
        return;
    };
    // A script that has started this process may lead the group.
    let own_group = group("self");
    let parent_lives = !is_gone(*parent) && !is_exiting(*parent);
    let program = token.program();
    // Two workers that do so at the same time could kill each other before either has finished.
    let _turn = (!parent_lives).then(|| take_turn(program));
    let is_wanted = |other: &str| {
        let wanted = *other == *token.0 || (!parent_lives && other.starts_with(program));
        wanted.then_some(0)
    };
    let _ = kill_all(LAST_LOOK, || {
        let mut found = look(is_wanted).found;
        found.extend(outside_of_group(std::process::id()));
        // Its own group ends last, together with this process.
        found.retain(|one| group(one.pid) != own_group);
        found
    });
}

/// Waits while another worker of the same parent kills the descendants of all of them, this worker included. The turn
/// lasts until the returned descriptor is closed.
fn take_turn(program: &str) -> Option<OwnedFd> {
    // The kernel gives an abstract name to one socket at a time, and takes it back when the process ends.
    let name = format!("retry-sweep {program}");
    let name = SocketAddrUnix::new_abstract_name(name.as_bytes()).ok()?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
    let until = Instant::now() + TURN;
    while bind(&socket, &name) == Err(Errno::ADDRINUSE) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(socket)
}

/// Returns whether a process has ended, given its descriptor, even if it has not been waited for yet.
pub(crate) fn has_ended(process: &OwnedFd) -> bool {
    let mut files = [PollFd::new(process, PollFlags::IN)];
    poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Returns whether the process that started this one has ended, even if it has not been waited for yet. It
/// need not be the direct parent: there may be a script in between.
pub(crate) fn is_gone(parent: u32) -> bool {
    let Some(parent) = sys::pid(parent) else {
        return false;
    };
    if rustix::process::getppid() == Some(parent) {
        return false;
    }
    // A process that has ended keeps its pid, and accepts signals, until it is waited for. Only its
    // descriptor tells the difference.
    match rustix::process::pidfd_open(parent, PidfdFlags::empty()) {
        Ok(process) => has_ended(&process),
        Err(Errno::SRCH) => true,
        // No descriptor is available.
        Err(_) => rustix::process::test_kill_process(parent) == Err(Errno::SRCH),
    }
}

/// Returns whether all threads of a process are exiting. The kernel closes the descriptors of a process, so that its
/// connections hang up, before the process has ended.
fn is_exiting(pid: u32) -> bool {
    // From linux/sched.h.
    const PF_EXITING: u32 = 0x4;
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        // A thread without the file has ended.
        let flags = stat_field(thread.path().join("stat"), 9);
        flags.is_none_or(|flags| flags & PF_EXITING != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_parent_counts_as_gone_before_it_is_waited_for() {
        let mut process = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!is_gone(process.id()) && !is_exiting(process.id()));
        process.kill().unwrap();
        // The stream ends while the process is exiting, a moment before the process can be waited for.
        let stdout = process.stdout.as_mut().unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        let pid = process.id();
        assert!(is_exiting(pid));
        while !is_gone(pid) {
            std::thread::yield_now();
        }
        process.wait().unwrap();
        assert!(is_gone(pid));
    }

    #[test]
    fn a_token_is_found_behind_those_of_outer_workers() {
        let (outer, inner) = (Token::new(), Token::new());
        assert_ne!(outer, inner);
        assert_eq!(outer.program(), inner.program());
        let environment = format!("A=1\0{VARIABLE}={}:{}\0B=2\0", outer.0, inner.0);
        for token in [&outer, &inner] {
            let which = |found: &str| (*found == *token.0).then_some(3);
            assert_eq!(token_in(environment.as_bytes(), which), Some(3));
        }
        // A token must not match one that it is only a prefix of.
        let longer = Token(format!("{}0", inner.0).into());
        let which = |found: &str| (*found == *longer.0).then_some(3);
        assert_eq!(token_in(environment.as_bytes(), which), None);
        assert_eq!(token_in(b"", |_| Some(0)), None);
    }

    #[test]
    fn a_process_of_another_group_is_found_and_killed() {
        use std::os::unix::process::CommandExt;
        let token = Token::new();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env(VARIABLE, token.variable())
            .process_group(0)
            .spawn()
            .unwrap();
        let tokens = [Token::new(), token];
        let found = look_for(&tokens).found;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].pid, found[0].of), (child.id(), 1));
        let left = kill_all(Duration::from_secs(10), || look_for(&tokens).found);
        assert_eq!(left, []);
        assert!(!child.wait().unwrap().success());
    }
}
