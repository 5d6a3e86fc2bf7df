//! Signals to process groups.

use rustix::io::Errno;
use rustix::process::Signal;

use super::children;
use crate::sys;

/// Kills a worker's process group. The process must not have been waited for yet, so that the pid is still
/// its own.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// Kills a process. Returns false if that was refused because the process belongs to another user. The
/// process must not have been waited for yet.
pub(crate) fn try_kill(pid: u32) -> bool {
    let pid = sys::pid(pid);
    let killed = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    killed != Some(Err(Errno::PERM))
}

/// Stops a worker's process group until it gets SIGCONT. Returns false if the worker has been stopped
/// already: a debugger or a person has done so, and continues it.
pub(crate) fn suspend_group(pid: u32) -> bool {
    let stat = children::read(&format!("/proc/{pid}/stat"));
    let is_stopped = stat
        .rsplit_once(") ")
        .is_some_and(|(_, fields)| fields.starts_with(['T', 't']));
    if !is_stopped {
        // Unlike SIGTSTP, it cannot be handled, and stops a group that no shell knows of.
        signal_group(pid, Signal::STOP);
    }
    !is_stopped
}

/// Sends a signal to a process group.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = sys::pid(pid) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
