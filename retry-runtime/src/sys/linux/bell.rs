//! A bell that wakes the thread that waits for it, or for a file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

/// Wakes a thread. It stays rung until the thread has waited.
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(Self)
            .map_err(Into::into)
    }

    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until the bell rings or the file becomes readable. Returns whether the file is. May return
    /// spuriously.
    pub(crate) fn wait(&self, file: Option<&OwnedFd>) -> bool {
        let bell = PollFd::new(&self.0, PollFlags::IN);
        let watched = file.map_or(self.0.as_fd(), AsFd::as_fd);
        let mut files = [bell, PollFd::from_borrowed_fd(watched, PollFlags::IN)];
        let count = 1 + usize::from(file.is_some());
        // After EINTR the caller just checks again.
        let _ = poll(&mut files[..count], None);
        let [rung, readable] = files.map(|file| !file.revents().is_empty());
        if rung {
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
        readable && file.is_some()
    }
}
