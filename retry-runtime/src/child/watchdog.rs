//! A thread of a worker that does what the serving thread cannot while it runs a function: notice
//! that the parent is gone, and send answers that are kept for too long.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags};

use super::result_writer::Kept;
use crate::sys::lineage::is_gone;

/// How long an answer may be kept while a function runs after it.
const LONGEST_KEPT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// After how many looks at nothing the watchdog goes to sleep: waking it costs more than a look.
const PATIENCE: u32 = 20;

/// Wakes the watchdog.
pub(super) struct Watchdog {
    bell: Arc<OwnedFd>,
    /// What it sends, once there is any.
    kept: Arc<OnceLock<Arc<Kept>>>,
}

impl Watchdog {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If the operating system has no thread or descriptor left for it: a worker that cannot
    /// notice its parent's death must not run.
    pub(super) fn start(socket: Arc<OwnedFd>, parent: u32) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell = Arc::new(bell);
        let heard = Arc::clone(&bell);
        let kept = Arc::new(OnceLock::new());
        let sent = Arc::clone(&kept);
        std::thread::Builder::new()
            .name("retry-watchdog".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || watch(&socket, &heard, &sent, parent))?;
        Ok(Self { bell, kept })
    }

    /// Has it send what is kept there.
    pub(super) fn sends(&self, kept: Arc<Kept>) {
        let _ = self.kept.set(kept);
    }

    /// Asks for the parent to be told of kept answers soon. False if a function has closed the way
    /// to the watchdog.
    pub(super) fn ring(&self) -> bool {
        rustix::io::write(&*self.bell, &1u64.to_ne_bytes()).is_ok()
    }
}

fn watch(socket: &OwnedFd, bell: &OwnedFd, kept: &OnceLock<Arc<Kept>>, parent: u32) {
    // The connection does not end with the parent where a child that the parent has forked still
    // has its end of it.
    let mut parent_process = open(parent);
    if parent_process.is_some() && is_gone(parent) {
        super::end();
    }
    let mut armed = false;
    let mut idle = 0;
    loop {
        // No events are asked for on the socket: a hang-up is always reported.
        let third = parent_process.as_ref().unwrap_or(bell);
        let mut files = [
            PollFd::new(socket, PollFlags::empty()),
            PollFd::new(bell, PollFlags::IN),
            PollFd::new(third, PollFlags::IN),
        ];
        let watched = if parent_process.is_some() { 3 } else { 2 };
        let timeout = armed.then_some(&LONGEST_KEPT);
        match poll(&mut files[..watched], timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => super::end(),
        }
        let heard = files[0].revents();
        if heard.contains(PollFlags::HUP) {
            super::end();
        }
        if watched == 3 && !files[2].revents().is_empty() {
            // Or the function has closed it, and its number is another file now.
            if is_gone(parent) {
                super::end();
            }
            std::mem::forget(parent_process.take());
            continue;
        }
        if heard.contains(PollFlags::NVAL) {
            // The function has closed it. When it returns this process ends.
            return;
        }
        if files[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
            armed = true;
            idle = 0;
        } else if armed && let Some(kept) = kept.get() {
            idle = if kept.flush_watched() { 0 } else { idle + 1 };
            // Who keeps something from then on rings again. What was kept just before that is
            // seen at the next look, which is the last one.
            if idle == PATIENCE {
                kept.try_arm_bell();
            }
            armed = idle <= PATIENCE;
        }
    }
}

fn open(parent: u32) -> Option<OwnedFd> {
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw)?;
    rustix::process::pidfd_open(parent, PidfdFlags::empty()).ok()
}
