//! The parent's sending side of a worker.

use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::cgroup::Cgroup;
use super::peer::Inlet;
use super::sweep::Family;
use crate::engine::link::{Link, executing};
use crate::scheduler::{Progress, Remains};
use crate::sys::{lineage, memory};
use crate::wait::AnswerSource;
use crate::wire::frame::CallHeader;
use crate::wire::outgoing::Outgoing;
use crate::wire::ring::{Corrupt, PIECE, Sleep};
use crate::wire::stream::Writer;
use crate::wire::{Board, bell};

/// A process at the other end of two streams.
pub(crate) struct ProcessLink {
    pid: u32,
    family: Arc<Family>,
    inlet: Arc<Inlet>,
    board: Arc<Board>,
    writer: Writer,
    /// What did not fit.
    outgoing: Outgoing,
    /// Whether something was written that is not published.
    dirty: bool,
    /// What limits its memory, where the kernel does.
    cgroup: Option<Arc<Cgroup>>,
    /// How many bytes of memory it may take.
    limit: u64,
    meter: memory::Meter,
    /// How many inputs it executes at once.
    slots: usize,
}

impl ProcessLink {
    /// Where the worker's answers arrive.
    pub(super) fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }

    pub(crate) fn new(
        family: Arc<Family>,
        inlet: Arc<Inlet>,
        board: Arc<Board>,
        writer: Writer,
        cgroup: Option<Arc<Cgroup>>,
        limit: Option<u64>,
        slots: usize,
    ) -> Self {
        Self {
            pid: family.worker(),
            family,
            inlet,
            board,
            writer,
            outgoing: Outgoing::default(),
            dirty: false,
            cgroup,
            limit: limit.unwrap_or(u64::MAX),
            meter: memory::Meter::default(),
            slots,
        }
    }
}

impl Link for ProcessLink {
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool {
        let head = header.encode();
        // A breach of the protocol shows again when this is flushed.
        let whole = head.len() + input.len();
        if whole <= PIECE && self.outgoing.is_empty() && self.writer.fits(whole) == Ok(true) {
            let _ = self.writer.write(&head);
            let _ = self.writer.write(input);
        } else {
            self.outgoing.push(&head, input);
        }
        !std::mem::replace(&mut self.dirty, true)
    }

    fn flush(&mut self) -> Result<bool, Corrupt> {
        let mut sent = std::mem::take(&mut self.dirty);
        loop {
            while let Some(part) = self.outgoing.front() {
                let piece = part.len().min(PIECE);
                let written = self.writer.write(&part[..piece])?;
                self.outgoing.advance(written);
                sent |= written > 0;
                if self.writer.publish() {
                    bell::ring(&self.inlet.socket);
                }
                if written < piece {
                    break;
                }
            }
            if self.writer.publish() {
                bell::ring(&self.inlet.socket);
            }
            let full = !self.outgoing.is_empty();
            self.inlet.set_full(full);
            if !full || self.writer.waits_for_room(Sleep::Bell)? {
                return Ok(sent);
            }
        }
    }

    fn source(&self) -> Option<Arc<dyn AnswerSource>> {
        Some(Arc::clone(&self.inlet) as Arc<dyn AnswerSource>)
    }

    fn recall(&mut self, last: u64) -> Option<u64> {
        self.board.recall(last)
    }

    fn ask(&self, ticket: u64) {
        self.board.ask(self.slots, ticket);
    }

    fn progress(&self) -> Progress {
        let shown = self.board.executing(self.slots);
        Progress {
            claimed: self.board.claimed(),
            is_sending: !self.outgoing.is_empty(),
            executing: shown.map(executing).collect(),
        }
    }

    fn memory(&self) -> u64 {
        let taken = self.meter.measure(self.pid, self.limit);
        // What it had started may have been killed in its place.
        let killed = self
            .cgroup
            .as_ref()
            .and_then(|cgroup| cgroup.out_of_memory());
        killed.map_or(taken, |(limit, peak)| taken.max(peak).max(limit + 1))
    }

    fn terminate(&self) {
        signal_group(self.pid, Signal::TERM);
    }

    fn kill(&mut self) -> Option<Remains> {
        let escaped = lineage::outside_of_group(self.pid);
        self.family.begin_end();
        kill_group(self.pid);
        self.family.kill(escaped);
        if may_not_signal(self.pid) {
            // It has become another user. Its own watchdog ends its group when the connection ends.
            let _ = rustix::net::shutdown(&self.inlet.socket, rustix::net::Shutdown::Both);
        }
        None
    }

    fn retire(&mut self) {
        self.writer.close();
        // Who does not sleep at the ring is woken by this.
        let _ = rustix::net::shutdown(&self.inlet.socket, rustix::net::Shutdown::Write);
    }
}

/// Kills a worker's process group. Only for a process that was not waited for yet, so that the
/// number still is its own.
pub(crate) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// Whether a process that is not waited for belongs to somebody whose processes this one cannot kill.
fn may_not_signal(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let killed = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    killed == Some(Err(Errno::PERM))
}

fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
