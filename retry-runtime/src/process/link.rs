//! The parent's sending side of the connection to a worker.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;

use super::cgroup::Cgroup;
use super::connection::WorkerConnection;
use super::sweep::Family;
use crate::local::link::{Link, Printed, executing};
use crate::scheduler::{ExitReport, Progress};
use crate::sys::group::{kill_group, signal_group, suspend_group, try_kill};
use crate::sys::{lineage, memory};
use crate::wait::AnswerSource;
use crate::wait::end::Sleep;
use crate::wire::Corrupt;
use crate::wire::frame::CallHeader;
use crate::wire::ring::PIECE;
use crate::wire::stream::Writer;
use crate::wire::write_queue::WriteQueue;
use crate::wire::{ControlBlock, bell};

/// The link to a worker process.
pub(crate) struct ProcessLink {
    pid: u32,
    family: Arc<Family>,
    connection: Arc<WorkerConnection>,
    control: Arc<ControlBlock>,
    writer: Writer,
    /// Calls that did not fit into the stream.
    write_queue: WriteQueue,
    /// True while written bytes have not been published yet.
    dirty: bool,
    /// The control group that limits the worker's memory, if the kernel does so.
    cgroup: Option<Arc<Cgroup>>,
    meter: memory::Meter,
    /// The number of inputs that the worker executes at once.
    slots: usize,
    is_suspended: bool,
}

impl ProcessLink {
    /// Returns the connection on which the worker's answers arrive.
    pub(super) fn connection(&self) -> &Arc<WorkerConnection> {
        &self.connection
    }

    pub(crate) fn new(
        family: Arc<Family>,
        connection: Arc<WorkerConnection>,
        control: Arc<ControlBlock>,
        writer: Writer,
        cgroup: Option<Arc<Cgroup>>,
        meter: memory::Meter,
        slots: usize,
    ) -> Self {
        Self {
            pid: family.worker(),
            family,
            connection,
            control,
            writer,
            write_queue: WriteQueue::default(),
            dirty: false,
            cgroup,
            meter,
            slots,
            is_suspended: false,
        }
    }
}

impl Link for ProcessLink {
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool {
        let head = header.encode();
        // An error here means a breach of the protocol, which shows again when the link is flushed.
        let whole = head.len() + input.len();
        if whole <= PIECE && self.write_queue.is_empty() && self.writer.fits(whole) == Ok(true) {
            let _ = self.writer.write(&head);
            let _ = self.writer.write(input);
        } else {
            self.write_queue.push(&head, input);
        }
        !std::mem::replace(&mut self.dirty, true)
    }

    fn flush(&mut self) -> Result<bool, Corrupt> {
        let mut sent = std::mem::take(&mut self.dirty);
        loop {
            while let Some(part) = self.write_queue.front() {
                let piece = part.len().min(PIECE);
                let written = self.writer.write(&part[..piece])?;
                self.write_queue.advance(written);
                sent |= written > 0;
                if self.writer.publish() {
                    bell::ring(&self.connection.socket);
                }
                if written < piece {
                    break;
                }
            }
            if self.writer.publish() {
                bell::ring(&self.connection.socket);
            }
            let full = !self.write_queue.is_empty();
            self.connection.set_full(full);
            if !full || self.writer.try_arm(Sleep::Bell)? {
                return Ok(sent);
            }
        }
    }

    fn source(&self) -> Option<Arc<dyn AnswerSource>> {
        Some(Arc::clone(&self.connection) as Arc<dyn AnswerSource>)
    }

    fn output(&self) -> Option<Arc<dyn Printed>> {
        Some(Arc::clone(&self.connection) as Arc<dyn Printed>)
    }

    fn recall(&mut self, last: u64) -> Option<u64> {
        self.control.recall(last)
    }

    fn ask(&self, ticket: u64) {
        self.control.ask(self.slots, ticket);
    }

    fn progress(&self) -> Progress {
        let shown = self.control.executing(self.slots);
        Progress {
            claimed: self.control.claimed(),
            is_sending: !self.write_queue.is_empty(),
            executing: shown.map(executing).collect(),
            polled: self.control.polled(),
        }
    }

    fn memory(&self) -> u64 {
        let taken = self.meter.measure(self.pid, self.control.made());
        // The kernel may have killed a process that the worker had started, instead of the worker.
        let killed = self
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.out_of_memory());
        killed.map_or(taken, |(limit, peak)| taken.max(peak).max(limit + 1))
    }

    fn terminate(&self) {
        signal_group(self.pid, Signal::TERM);
    }

    fn kill(&mut self) -> Option<ExitReport> {
        let escaped = lineage::outside_of_group(self.pid);
        self.family.begin_end();
        kill_group(self.pid);
        self.family.kill(escaped);
        if !try_kill(self.pid) {
            // The worker has become another user. Its own watchdog ends its group when the connection ends.
            let _ = rustix::net::shutdown(&self.connection.socket, rustix::net::Shutdown::Both);
        }
        None
    }

    fn retire(&mut self) {
        self.writer.close();
        // Wakes a worker that does not sleep at the ring.
        let _ = rustix::net::shutdown(&self.connection.socket, rustix::net::Shutdown::Write);
    }

    fn suspend(&mut self) {
        self.is_suspended = suspend_group(self.pid);
    }

    fn set_suspended(&mut self, total: Duration) {
        self.control.set_suspended(total);
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.is_suspended) {
            signal_group(self.pid, Signal::CONT);
        }
    }
}
