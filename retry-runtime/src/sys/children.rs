//! Whether the kernel keeps children that have ended until they are waited for. Only then it is
//! known how a worker ended, and only then its number stays its own until its group is killed.

use std::fs::File;
use std::io;

use rustix::buffer::spare_capacity;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, test_kill_process, waitid,
};

use crate::sys;

/// Where a program was started by one that ignores SIGCHLD, it ignores it as well, without having
/// said so, and the kernel keeps none of its children. Puts that back to the default, which hears
/// of no signal either.
pub(crate) fn keep() {
    if sys::is_ignored(Signal::CHILD) {
        sys::default_action(Signal::CHILD);
    }
}

/// An error where the program ignores SIGCHLD itself: its own children may depend on that.
pub(crate) fn check() -> io::Result<()> {
    if sys::is_ignored(Signal::CHILD) {
        return Err(io::Error::other(
            "this program ignores SIGCHLD, so that the kernel does not keep how its children end; \
             set its action back to SIG_DFL, or handle it",
        ));
    }
    Ok(())
}

/// Kills what is left of the group of a worker that has ended. Says how it has ended, where the
/// kernel keeps that until it is waited for.
pub(crate) fn kill_rest(pid: u32, kill_group: impl FnOnce(u32)) -> Option<WaitIdStatus> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // While it is not waited for its number cannot belong to another group. Where it was not kept
    // (SA_NOCLDWAIT), the number may be another process's by now.
    let ended = waitid(WaitId::Pid(raw), options);
    if ended.is_ok() || test_kill_process(raw).is_err() {
        kill_group(pid);
    }
    ended.ok().flatten()
}

/// What a file of the kernel's says, or nothing.
pub(crate) fn read(path: &str) -> String {
    let Ok(file) = File::open(path) else {
        return String::new();
    };
    // All of it at once: it is written anew for each look at it, also for one that finds the end.
    let mut text = Vec::with_capacity(8 * 1024);
    while let Ok(read) = rustix::io::pread(&file, spare_capacity(&mut text), 0) {
        if read < text.capacity() {
            break;
        }
        let longer = 2 * text.capacity();
        text.clear();
        text.reserve(longer);
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_group_is_not_killed_whose_number_is_another_process_s() {
        let kills = |pid| {
            let mut killed = None;
            kill_rest(pid, |pid| killed = Some(pid));
            killed == Some(pid)
        };
        let mut child = Command::new("true").spawn().unwrap();
        assert!(kills(child.id()), "it was not waited for");
        child.wait().unwrap();
        assert!(!kills(std::process::id()), "it is no child");
        assert!(kills(i32::MAX as u32), "nobody has that number");
    }
}
