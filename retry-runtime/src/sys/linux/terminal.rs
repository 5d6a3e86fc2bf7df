//! The terminal that standard error may be, and the controlling terminal.

use std::os::fd::AsRawFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Returns the number of rows and columns of the terminal that standard error is.
pub(crate) fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok()?;
    Some((size.ws_row.into(), size.ws_col.into()))
}

/// Returns whether standard error accepts output without blocking: a terminal may be stopped.
pub(crate) fn takes_more() -> bool {
    let stderr = rustix::stdio::stderr();
    let mut files = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
}

/// Writes to the descriptor of standard error itself, because the program may hold the lock of
/// [`std::io::stderr`]. A closed descriptor is not an error here.
pub(crate) fn write(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Detaches this process from its controlling terminal, if it has one and is not the session leader.
pub(crate) fn leave() {
    // SAFETY: these take and return numbers only.
    if unsafe { libc::getsid(0) == libc::getpid() } {
        // If the session leader detached, the whole session would lose the terminal and its foreground group
        // would get a hang-up signal.
        return;
    }
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(terminal) = rustix::fs::open("/dev/tty", flags, Mode::empty()) {
        // SAFETY: this request takes no third parameter.
        let _ = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
    }
}
