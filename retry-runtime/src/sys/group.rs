//! Signals to process groups.

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

/// Kills a worker's process group. Only for a process that was not waited for yet, so that the
/// number still is its own.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// Whether a process that is not waited for belongs to somebody whose processes this one cannot kill.
pub(crate) fn may_not_signal(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let killed = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    killed == Some(Err(Errno::PERM))
}

/// Sends a signal to a process group.
pub(crate) fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
