//! Finds the processes that descend from a worker, wherever they have gone.
//!
//! A worker leads a process group, which is killed as a whole. A process that leaves the group, such as a
//! daemon, is recognised by its environment: each worker is started with a token that all its
//! descendants inherit, and that `/proc` shows. The token of a worker of a program that a function has
//! started stands behind that of the worker which the function runs in, so that the end of the outer
//! one takes the inner ones along.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::sys::{self, PerProcess};

/// The environment variable with the tokens.
pub(crate) const VARIABLE: &str = "RETRY_LINEAGE";

/// Separates a worker's token from those before it.
const SEPARATOR: char = ':';

/// The time for which killed processes are waited for before the next look.
const PAUSE: Duration = Duration::from_millis(20);

/// The time for which processes are waited for that are loading a program.
const LOADING: Duration = Duration::from_millis(50);

/// The time for which a worker looks for its descendants before it ends itself.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// Marks the descendants of one worker. It is unique on the machine: it consists of the
/// parent, by its number and the time of its first worker, and of the worker's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// A token for a worker of this process.
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

    /// The value of the variable for the worker.
    pub(crate) fn variable(&self) -> OsString {
        match std::env::var(VARIABLE) {
            Ok(before) if !before.is_empty() => format!("{before}{SEPARATOR}{}", self.0).into(),
            _ => self.0.to_string().into(),
        }
    }

    /// The beginning of the tokens of all workers of one process.
    fn program(&self) -> &str {
        let end = self.0.rfind('.').map_or(0, |dot| dot + 1);
        &self.0[..end]
    }
}

/// A process that was found. It is held on to by its descriptor, so that its number cannot pass on to
/// another one before it is killed.
pub(crate) struct Found {
    pub(crate) pid: u32,
    /// Which of the tokens that were looked for it has.
    pub(crate) of: usize,
    pidfd: OwnedFd,
}

impl Found {
    /// Holds on to a process.
    pub(crate) fn hold(pid: u32, of: usize) -> Option<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
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
        let mut files = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Kills it, with its process group if it leads one.
    fn kill(&self) -> rustix::io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
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

/// The result of a look at all processes.
#[derive(Default)]
pub(crate) struct Look {
    pub(crate) found: Vec<Found>,
    /// Processes whose environment this one may not see.
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

/// Says whether it is known from which worker a process descends.
#[derive(PartialEq, Eq)]
enum Known {
    Yes,
    /// It has begun to load another program, and the kernel shows no environment until it has found
    /// its place.
    NotYet,
}

impl Look {
    /// Looks at one process.
    fn at(&mut self, pid: u32, which: &impl Fn(&str) -> Option<usize>) -> Known {
        let environment = match environment(pid) {
            Ok(environment) => environment,
            Err(error) => {
                // Otherwise it has ended.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.hidden.push(pid);
                }
                return Known::Yes;
            }
        };
        if environment.is_empty() && is_loading(pid) {
            return Known::NotYet;
        }
        if let Some(of) = token_in(&environment, which)
            && let Some(held) = Found::hold(pid, of)
        {
            // Looked at again: the number may have passed on to another process before. One that loads
            // another program by now is seen again as soon as it has.
            match environment_of_held(&held) {
                Some(environment) if token_in(&environment, which) == Some(of) => {
                    self.found.push(held);
                }
                Some(environment) if environment.is_empty() => return Known::NotYet,
                _ => {}
            }
        }
        Known::Yes
    }
}

fn environment(pid: u32) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/environ"))
}

fn environment_of_held(held: &Found) -> Option<Vec<u8>> {
    environment(held.pid).ok().filter(|_| !held.has_ended())
}

/// Returns whether a process without an environment is loading a program: it has one, unlike a thread of the
/// kernel or a process that has ended, and has no arguments yet.
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

/// Kills what is found, again and again until nothing more is: it may have started more meanwhile.
/// Returns the processes that this one may not kill, and those that have not ended within the time.
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
        let pause = Instant::now() + PAUSE;
        while Instant::now() < pause && !found.iter().all(Found::has_ended) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    refused.into_iter().collect()
}

/// A process and all that descend from it, as long as their parents are alive.
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

/// Holds on to the processes that descend from one which is alive, and have left its group.
pub(crate) fn outside_of_group(leader: u32) -> Vec<Found> {
    let descendants = tree(leader).into_iter().skip(1);
    let escaped = descendants.filter(|pid| group(*pid).is_some_and(|group| group != leader));
    escaped.filter_map(|pid| Found::hold(pid, 0)).collect()
}

/// The number of the group of a process, which `/proc` knows by this name. It is 0 where the group is
/// none of this namespace.
pub(crate) fn group(pid: impl fmt::Display) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(2)?.parse().ok()
}

/// This worker's own identity.
static OWN: OnceLock<(Token, u32)> = OnceLock::new();

/// Notes the token of this process, which is a worker of `parent`. It is read before user code runs that
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

/// Kills what descends from this worker, which is about to end, and is not in its process group. If
/// its parent is gone it does so for all workers of that parent: the parent may have killed some
/// and not have come to look for what they left.
pub(crate) fn kill_own() {
    let Some((token, parent)) = OWN.get() else {
        return;
    };
    // A script that has started this process leads the group.
    let own_group = group("self");
    let parent_lives = !is_gone(*parent);
    let program = token.program();
    let is_wanted = |other: &str| {
        let wanted = *other == *token.0 || (!parent_lives && other.starts_with(program));
        wanted.then_some(0)
    };
    let _ = kill_all(LAST_LOOK, || {
        let mut found = look(is_wanted).found;
        found.extend(outside_of_group(std::process::id()));
        // The group ends last, with this process.
        found.retain(|one| group(one.pid) != own_group);
        found
    });
}

/// Returns whether the process that started this one has ended, also if nothing has waited for it yet.
/// It need not be the direct parent: a script may have been started instead that started this process.
pub(crate) fn is_gone(parent: u32) -> bool {
    let Some(parent) = i32::try_from(parent).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if rustix::process::getppid() == Some(parent) {
        return false;
    }
    // A process that has ended keeps its pid, and can be sent signals, until it is waited for. Only
    // its descriptor tells the difference.
    match rustix::process::pidfd_open(parent, PidfdFlags::empty()) {
        Ok(process) => {
            let mut files = [PollFd::new(&process, PollFlags::IN)];
            poll(&mut files, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
        }
        Err(Errno::SRCH) => true,
        // There is no descriptor left for it.
        Err(_) => rustix::process::test_kill_process(parent) == Err(Errno::SRCH),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_parent_is_gone_before_anything_has_waited_for_it() {
        let mut process = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!is_gone(process.id()));
        process.kill().unwrap();
        // The stream ends while the process does, a moment before the process can be waited for.
        let stdout = process.stdout.as_mut().unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        let pid = process.id();
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
        // One that begins with another is not the other.
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
