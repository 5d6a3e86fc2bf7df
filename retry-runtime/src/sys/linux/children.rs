//! Support for the kernel keeping the exit status of children until they are waited for. Only then can the
//! parent learn how a worker ended, and only then does a worker's pid remain its own until its group has been
//! killed.

use std::fs::File;
use std::io;

use rustix::buffer::spare_capacity;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, test_kill_process, waitid,
};

use super::signals;

/// Resets an ignored SIGCHLD to its default action, in which no handler runs and the kernel keeps children. A
/// program inherits the ignored signal from a parent that ignores it, without having asked for it.
pub(crate) fn keep() {
    if signals::is_ignored(Signal::CHILD) {
        signals::reset(Signal::CHILD);
    }
}

/// Returns an error if the program ignores SIGCHLD itself. The runtime does not reset it then, because the
/// program's own children may depend on it.
pub(crate) fn check() -> io::Result<()> {
    if signals::is_ignored(Signal::CHILD) {
        return Err(io::Error::other(
            "this program ignores SIGCHLD, so that the kernel does not keep how its children end; \
             set its action back to SIG_DFL, or handle it",
        ));
    }
    Ok(())
}

/// Kills what is left of the process group of a worker that has ended. Returns how the worker ended, if the
/// kernel keeps that until it is waited for.
pub(crate) fn kill_rest(pid: u32, kill_group: impl FnOnce(u32)) -> Option<WaitIdStatus> {
    let raw = self::pid(pid)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // As long as the worker has not been waited for, its pid cannot belong to another group. If the kernel
    // has not kept it (SA_NOCLDWAIT), the pid may belong to another process by now.
    let ended = waitid(WaitId::Pid(raw), options);
    if ended.is_ok() || test_kill_process(raw).is_err() {
        kill_group(pid);
    }
    ended.ok().flatten()
}

/// Returns a process number as the system calls take it; `None` for one that no process can have.
pub(crate) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Returns the contents of a kernel file such as those in `/proc`, or an empty text if it cannot be read.
pub(crate) fn read(path: &str) -> String {
    let Ok(file) = File::open(path) else {
        return String::new();
    };
    // Read everything in one call: the kernel generates the contents anew for each read, even for one that
    // only finds the end.
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
    fn a_group_is_not_killed_if_its_pid_was_reused() {
        let kills = |pid| {
            let mut killed = None;
            kill_rest(pid, |pid| killed = Some(pid));
            killed == Some(pid)
        };
        let mut child = Command::new("true").spawn().unwrap();
        assert!(kills(child.id()), "it was not waited for");
        child.wait().unwrap();
        assert!(!kills(std::process::id()), "it is no child");
        assert!(kills(i32::MAX as u32), "no process has that number");
    }
}
