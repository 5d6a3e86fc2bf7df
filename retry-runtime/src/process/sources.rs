//! What the I/O thread waits for of each worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};

/// What became ready is told by the worker's number and one of these.
pub(super) const SOCKET: u64 = 0;
pub(super) const STDOUT: u64 = 1;
pub(super) const STDERR: u64 = 2;
pub(super) const PROCESS: u64 = 3;
pub(super) const NESTED: u64 = 4;
pub(super) const SOURCES: u64 = 8;

/// Where a full socket is put down to be written to again.
pub(super) struct Writable(pub(super) Arc<OwnedFd>);

impl Writable {
    /// Has the thread write to one of a worker's sockets when it takes more, or not any longer.
    pub(super) fn set(&self, socket: &OwnedFd, worker: u64, source: u64, wanted: bool) {
        let flags = if wanted {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        let data = EventData::new_u64(worker * SOURCES + source);
        let _ = epoll::modify(&*self.0, socket, data, flags);
    }
}
