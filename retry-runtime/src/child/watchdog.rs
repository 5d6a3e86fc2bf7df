//! Threads that do what a worker's serving thread cannot do while it runs a function: notice that the parent has
//! exited, wake the parent for answers that have waited too long, and end the worker of an agent that was stopped.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::PidfdFlags;

use super::result_writer::Kept;
use crate::sys::{self, lineage::is_gone};
use crate::wire::lease::{LeaseEnd, Leased};

/// Longest time that an answer may wait for a wake-up while the next function runs.
const LONGEST_KEPT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Idle checks before the watchdog goes to sleep: waking it costs more than a check.
const IDLE_CHECKS: u32 = 20;

/// A handle that wakes the watchdog.
pub(super) struct Watchdog {
    bell: Arc<OwnedFd>,
    /// The answers for which it wakes the parent, once the results writer exists.
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

    /// Sets the answers that the watchdog looks after.
    pub(super) fn look_after(&self, kept: Arc<Kept>) {
        let _ = self.kept.set(kept);
    }

    /// Asks the watchdog to wake the parent soon for deferred answers. Returns false if a function has closed
    /// the eventfd.
    pub(super) fn ring(&self) -> bool {
        rustix::io::write(&*self.bell, &1u64.to_ne_bytes()).is_ok()
    }
}

/// Starts the thread that ends this worker when its lease is over. Only workers of agents have one; it sleeps at the
/// lease, where the other thread cannot.
///
/// # Errors
///
/// If the operating system has no thread left for it.
pub(super) fn keep(lease: Leased, end: LeaseEnd) -> io::Result<()> {
    std::thread::Builder::new()
        .name("retry-lease".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || {
            lease.wait();
            end.note();
            super::end()
        })?;
    Ok(())
}

fn watch(socket: &OwnedFd, bell: &OwnedFd, kept: &OnceLock<Arc<Kept>>, parent: u32) {
    // The connection does not end with the parent if a child that the parent forked still holds the parent's
    // end of it, so watch the process as well.
    let mut parent_process = open(parent);
    if parent_process.is_some() && is_gone(parent) {
        super::end();
    }
    let mut armed = false;
    let mut idle = 0;
    loop {
        // No events are requested on the socket: the kernel always reports a hang-up.
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
            // The event may also mean that the function has closed the pidfd and its number refers to another
            // file.
            if is_gone(parent) {
                super::end();
            }
            std::mem::forget(parent_process.take());
            continue;
        }
        if heard.contains(PollFlags::NVAL) {
            // The function has closed the socket. This process ends when the function returns.
            return;
        }
        if files[1].revents().contains(PollFlags::IN) {
            let _ = rustix::io::read(bell, &mut [0u8; 8]);
            armed = true;
            idle = 0;
        } else if armed && let Some(kept) = kept.get() {
            idle = if kept.flush_watched() { 0 } else { idle + 1 };
            // From `stop_watch` on, the serving thread rings again when it defers a wake-up. The next
            // check, which is the last one, finds answers that were deferred just before.
            if idle == IDLE_CHECKS {
                kept.stop_watch();
            }
            armed = idle <= IDLE_CHECKS;
        }
    }
}

fn open(parent: u32) -> Option<OwnedFd> {
    let parent = sys::pid(parent)?;
    rustix::process::pidfd_open(parent, PidfdFlags::empty()).ok()
}
