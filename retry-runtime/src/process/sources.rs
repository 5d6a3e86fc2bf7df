//! The event sources of each worker that the I/O thread waits for.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};

/// The kinds of sources. An event identifies its source by the worker's number and one of these.
pub(super) const SOCKET: u64 = 0;
pub(super) const STDOUT: u64 = 1;
pub(super) const STDERR: u64 = 2;
pub(super) const PROCESS: u64 = 3;
pub(super) const NESTED: u64 = 4;
pub(super) const SOURCES: u64 = 8;

/// The registration of sockets that the I/O thread is to write to once they have room.
pub(super) struct Writable(pub(super) Arc<OwnedFd>);

impl Writable {
    /// Sets whether the I/O thread is notified when one of a worker's sockets has room.
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
