//! The parent's sending side of a worker.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::process::{Pid, Signal};

use super::Board;
use super::frame::CallHeader;
use super::outgoing::Outgoing;
use crate::pool::{Cgroup, SOCKET, Writable, memory};
use crate::scheduler::Remains;

/// What can be done to a worker. This is the seam between what is decided and how it gets there:
/// nothing above it knows whether a worker is a process, and nothing below it decides anything.
pub(crate) trait Link: Send {
    /// Queues a call, or an order about one, and says whether it has to be flushed.
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool;

    /// Sends what is queued; what does not fit goes on by itself.
    fn flush(&mut self);

    /// Takes back every ticket up to `last` that is not claimed. Returns the last one that was
    /// claimed or taken back before; `None` if the worker claims what cannot be.
    fn recall(&mut self, last: u64) -> Option<u64>;

    /// Asks the function that executes a ticket to stop, where it can be seen without reading
    /// a message.
    fn ask(&self, ticket: u64);

    /// The tickets that are being executed, and since when in nanoseconds on the monotonic clock.
    fn executing(&self) -> Vec<(u64, u64)>;

    /// How many bytes of memory the worker takes with all that it started.
    fn memory(&self) -> u64;

    /// Asks the worker and all that it started to end.
    fn terminate(&self);

    /// Ends the worker and all that it started. What is left of it comes later, unless it is
    /// there at once.
    fn kill(&mut self) -> Option<Remains>;

    /// Tells a worker that has nothing to do that nothing will come any more.
    fn retire(&mut self);
}

/// A process at the other end of a socket.
pub(crate) struct SocketLink {
    worker: u64,
    pid: u32,
    socket: Arc<OwnedFd>,
    board: Arc<Board>,
    outgoing: Outgoing,
    writable: Writable,
    /// What limits its memory, where the kernel does.
    cgroup: Option<Arc<Cgroup>>,
    /// Whether the socket was full, so that the I/O thread goes on writing.
    full: bool,
    /// How many inputs it executes at once.
    slots: usize,
}

impl SocketLink {
    pub(crate) fn new(
        worker: u64,
        pid: u32,
        socket: Arc<OwnedFd>,
        board: Arc<Board>,
        writable: Writable,
        cgroup: Option<Arc<Cgroup>>,
        slots: usize,
    ) -> Self {
        Self {
            worker,
            pid,
            socket,
            board,
            outgoing: Outgoing::default(),
            writable,
            cgroup,
            full: false,
            slots,
        }
    }
}

impl Link for SocketLink {
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool {
        // While the socket is full the I/O thread goes on writing by itself.
        let first = self.outgoing.is_empty();
        self.outgoing.push(&header.encode(), input);
        first
    }

    fn flush(&mut self) {
        // A broken connection shows on the reading side, where the exit is seen as well.
        let full = matches!(self.outgoing.write_to(&self.socket), Ok(false));
        if full != self.full {
            self.full = full;
            self.writable.set(&self.socket, self.worker, SOCKET, full);
        }
    }

    fn recall(&mut self, last: u64) -> Option<u64> {
        self.board.recall(last)
    }

    fn ask(&self, ticket: u64) {
        self.board.ask(self.slots, ticket);
    }

    fn executing(&self) -> Vec<(u64, u64)> {
        self.board.executing(self.slots).collect()
    }

    fn memory(&self) -> u64 {
        let resident = memory::of_tree(self.pid);
        // What it had started may have been killed in its place.
        let killed = self
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.out_of_memory());
        killed.map_or(resident, |(limit, peak)| resident.max(peak).max(limit + 1))
    }

    fn terminate(&self) {
        signal_group(self.pid, Signal::TERM);
    }

    fn kill(&mut self) -> Option<Remains> {
        kill_group(self.pid);
        None
    }

    fn retire(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }
}

/// Kills a worker's process group. Only for a process that was not waited for yet, so that the
/// number still is its own.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
