//! Signals to process groups.

use rustix::io::Errno;
use rustix::process::Signal;

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

/// Sends a signal to a process group.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = sys::pid(pid) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
