//! Which calls have printed something, and where their output ends.
//!
//! The parent reads the worker's pipes whenever it gets to it: what it finds may be from several calls.
//! So the worker counts the bytes that its process, C code in it and the commands that it has started have
//! written by the end of each call, and tells the parent before it answers. What goes on in between is
//! not slowed down: the bytes are counted by the kernel, as those that are left in a pipe, and by the
//! parent, as those that it has read.
//!
//! To ask the kernel takes two system calls. A call that took less time than it takes to print has printed
//! nothing, so that nothing is asked for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::result_writer::ResultWriter;
use crate::sys;
use crate::wire::ControlBlock;
use crate::wire::frame::Printed;

/// How often a print is timed: the first ones are slower than they have to be.
const TIMED: usize = 8;

/// How many times as fast as the fastest one was a print may be at another moment: the core may have
/// been slow while that was timed. A real print takes several times as long besides.
const FASTER: u64 = 2;

/// How many looks in a row that find nothing are made at the end of each call. Afterwards they are made
/// [less often](PAUSE) between the calls of a chunk, until one finds something.
const EACH: u32 = 4096;

/// How many times as long as a look takes the next one is put off then.
const PAUSE: u64 = 8;

/// What a worker knows of its own output.
pub(super) struct Output {
    control: Arc<ControlBlock>,
    /// Standard output and standard error as this process has found them: a function may put other files
    /// in their places. Nothing where there was no descriptor for them.
    pipes: Option<[OwnedFd; 2]>,
    /// How much had been printed at the last look.
    ends: [u64; 2],
    /// How long it takes at least to print anything, once there was time to measure it: by the counter of
    /// the processor, and in nanoseconds.
    shortest: [u64; 2],
    measured: bool,
    /// How many looks are still to be made at the end of each call.
    each: u32,
    /// When the last look was, by the counter of the processor.
    looked: u64,
    /// A look was put off since.
    put_off: bool,
}

impl Output {
    pub(super) fn new(control: Arc<ControlBlock>) -> Self {
        let duplicate = |file| rustix::io::fcntl_dupfd_cloexec(file, 3);
        let pipes = duplicate(rustix::stdio::stdout())
            .and_then(|stdout| Ok([stdout, duplicate(rustix::stdio::stderr())?]))
            .ok();
        if let Some([stdout, stderr]) = &pipes {
            let inode = |pipe| rustix::fs::fstat(pipe).map_or(0, |stat| stat.st_ino);
            control.prints_into([inode(stdout), inode(stderr)]);
        }
        Self {
            control,
            pipes,
            ends: [0; 2],
            shortest: [0; 2],
            measured: false,
            each: EACH,
            looked: 0,
            put_off: false,
        }
    }

    /// Tells where the output of the set-up ends.
    pub(super) fn begins(&mut self, results: &ResultWriter) {
        if let Some(ends) = self.count() {
            self.ends = ends;
            results.printed(0, self.printed(false, true));
        }
    }

    /// Times how long it takes to write a byte to a pipe that is watched, as those of a worker are.
    pub(super) fn measure(&mut self) {
        self.measured = true;
        self.shortest = shortest_write().map_or([0; 2], |shortest| shortest.map(|it| it / FASTER));
    }

    pub(super) fn is_measured(&self) -> bool {
        self.measured
    }

    /// Returns whether a call that took so many nanoseconds has printed nothing.
    pub(super) fn is_certain(&self, nanos: u64) -> bool {
        nanos < self.shortest[1]
    }

    /// A call is about to be answered that took so long by the counter of the processor, and nothing else
    /// is executing. If another one of its chunk follows the look may be put off. Whether there was one, which
    /// takes its time.
    #[inline]
    pub(super) fn ended(
        &mut self,
        results: &ResultWriter,
        ticket: u64,
        took: u64,
        followed: bool,
    ) -> bool {
        let may_have = took >= self.shortest[0];
        may_have && self.look_or_put_off(results, ticket, followed)
    }

    #[cold]
    fn look_or_put_off(&mut self, results: &ResultWriter, ticket: u64, followed: bool) -> bool {
        // Each of its two system calls takes about as long as a print.
        let pause = PAUSE * 2 * FASTER * self.shortest[0];
        let is_soon = sys::ticks().wrapping_sub(self.looked) < pause;
        if followed && self.each == 0 && is_soon {
            self.put_off = true;
            self.control.leaves_unseen(ticket);
            return false;
        }
        self.look(results, ticket, true, true);
        true
    }

    /// Looks whether anything was printed since the last time, by `ticket` alone or by others as well, and
    /// says so. If it is the `last` that was executing, a line that is unfinished will remain so.
    pub(super) fn look(&mut self, results: &ResultWriter, ticket: u64, alone: bool, last: bool) {
        self.looked = sys::ticks();
        match self.count() {
            Some(ends) if ends == self.ends => {
                self.each = self.each.saturating_sub(1);
                self.put_off = false;
            }
            Some(ends) => {
                self.ends = ends;
                self.each = EACH;
                let alone = alone && !std::mem::take(&mut self.put_off);
                results.printed(ticket, self.printed(alone, last));
            }
            None => {
                self.put_off = true;
                self.control.leaves_unseen(ticket);
            }
        }
    }

    /// A ticket is about to be answered while others are executing: the parent is to look itself.
    pub(super) fn leaves_unseen(&self, ticket: u64) {
        self.control.leaves_unseen(ticket);
    }

    fn printed(&self, alone: bool, last: bool) -> Printed {
        Printed {
            ends: self.ends,
            alone,
            last,
        }
    }

    /// Returns how much has been printed.
    fn count(&self) -> Option<[u64; 2]> {
        let [stdout, stderr] = self.pipes.as_ref()?;
        self.control
            .printed(|| Some([left(stdout)?, left(stderr)?]))
    }
}

/// Returns how many bytes are in a pipe.
fn left(pipe: impl AsFd) -> Option<u64> {
    rustix::io::ioctl_fionread(pipe).ok()
}

fn shortest_write() -> Option<[u64; 2]> {
    let (_watch, _reader, writer) = watched_pipe().ok()?;
    let times = (0..TIMED).map(|_| {
        let begun = [sys::ticks(), sys::monotonic_nanos()];
        rustix::io::write(&writer, b"x").ok()?;
        let ended = [sys::ticks(), sys::monotonic_nanos()];
        Some([0, 1].map(|clock| ended[clock].saturating_sub(begun[clock])))
    });
    times
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .reduce(|one, other| [0, 1].map(|clock| one[clock].min(other[clock])))
}

/// A pipe, and what watches it, as a parent does.
fn watched_pipe() -> rustix::io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let watch = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&watch, &reader, EventData::new_u64(0), EventFlags::IN)?;
    Ok((watch, reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_takes_longer_than_the_shortest() {
        let shortest = shortest_write().unwrap().map(|shortest| shortest / FASTER);
        let (_watch, _reader, writer) = watched_pipe().unwrap();
        for _ in 0..1000 {
            let begun = [sys::ticks(), sys::monotonic_nanos()];
            rustix::io::write(&writer, b"x").unwrap();
            let ended = [sys::ticks(), sys::monotonic_nanos()];
            for clock in 0..2 {
                assert!(ended[clock] - begun[clock] >= shortest[clock]);
            }
        }
    }
}
