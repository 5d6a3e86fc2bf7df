//! Determines which calls have printed something, and where their output ends.
//!
//! The parent reads the worker's pipes at its own pace, so one read may return the output of several calls.
//! The worker therefore counts, at the end of each call, the bytes that its process, C code in it and the
//! commands it has started have written, and tells the parent before it answers. Writing itself is not slowed
//! down: the kernel counts the bytes that are still in a pipe, and the parent those that it has read.
//!
//! Asking the kernel takes two system calls. A call that took less time than a print takes has printed
//! nothing, so the worker does not ask.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::result_writer::ResultWriter;
use crate::sys;
use crate::wire::ControlBlock;
use crate::wire::frame::Printed;

/// Number of prints that are timed: the first ones are slower than later ones.
const TIMED: usize = 8;

/// Safety factor: how many times faster than the fastest timed print another print may be, because the core
/// may have been slow during the measurement. A real print also takes several times as long as a timed one.
const FASTER: u64 = 2;

/// Time in nanoseconds below which no print is, on any machine: it takes a system call that wakes an epoll instance.
/// If the core is slow during the whole measurement, the timed prints alone would say that faster calls have printed
/// nothing.
const FASTEST: u64 = 500;

/// Consecutive counts that find nothing new before the worker stops counting at the end of every call. From
/// then on it counts [less often](PAUSE_FACTOR) between the calls of a chunk, until a count finds something.
const EACH: u32 = 4096;

/// Time for which the next count is then put off, as a multiple of the time that a count takes.
const PAUSE_FACTOR: u64 = 8;

/// The state of the worker's own output.
pub(super) struct Output {
    control: Arc<ControlBlock>,
    /// Standard output and standard error as this process found them: a function may replace both. `None` if
    /// no descriptor was left to duplicate them.
    pipes: Option<[OwnedFd; 2]>,
    /// Bytes printed up to the last count.
    ends: [u64; 2],
    /// Least time that a print takes, once it has been measured: in ticks of the processor's counter, and in
    /// nanoseconds.
    shortest: [u64; 2],
    measured: bool,
    /// Counts that are still to be made at the end of every call.
    each: u32,
    /// When the last count was made, by the processor's counter.
    looked: u64,
    /// Set once a count was put off since then.
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
            control.set_pipes([inode(stdout), inode(stderr)]);
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

    /// Tells the parent where the output of the set-up ends.
    pub(super) fn begin(&mut self, results: &ResultWriter) {
        if let Some(ends) = self.count() {
            self.ends = ends;
            results.send_printed(0, self.printed(false, true));
        }
    }

    /// Times how long it takes to write a byte to a pipe that an epoll instance watches, as the parent
    /// watches those of a worker.
    pub(super) fn measure(&mut self) {
        self.measured = true;
        self.shortest = shortest_write().map_or([0; 2], least);
    }

    pub(super) fn is_measured(&self) -> bool {
        self.measured
    }

    /// Returns whether a call that took this many nanoseconds cannot have printed anything.
    pub(super) fn is_certain(&self, nanos: u64) -> bool {
        nanos < self.shortest[1]
    }

    /// Reports the output of a call that is about to be answered, while no other call is executing. `took` is
    /// its duration by the processor's counter. The count may be put off if another call of its chunk
    /// follows. Returns whether the worker counted, which takes time of its own.
    #[inline]
    pub(super) fn report_end(
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
        // Each of the two system calls takes about as long as a print.
        let pause = PAUSE_FACTOR * 2 * FASTER * self.shortest[0];
        let is_soon = sys::ticks().wrapping_sub(self.looked) < pause;
        if followed && self.each == 0 && is_soon {
            self.put_off = true;
            self.control.set_unseen(ticket);
            return false;
        }
        self.look(results, ticket, true, true);
        true
    }

    /// Counts the output and reports what is new since the last count, printed by `ticket` alone or by other
    /// calls as well. If it is the `last` call that was executing, an unfinished line will stay unfinished.
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
                results.send_printed(ticket, self.printed(alone, last));
            }
            None => {
                self.put_off = true;
                self.control.set_unseen(ticket);
            }
        }
    }

    /// Marks a ticket that is about to be answered while others are executing: the parent must count its
    /// output itself.
    pub(super) fn mark_unseen(&self, ticket: u64) {
        self.control.set_unseen(ticket);
    }

    fn printed(&self, alone: bool, last: bool) -> Printed {
        Printed {
            ends: self.ends,
            alone,
            last,
        }
    }

    /// Returns the number of bytes printed so far into each pipe. `None` if it cannot be determined.
    fn count(&self) -> Option<[u64; 2]> {
        let [stdout, stderr] = self.pipes.as_ref()?;
        self.control
            .printed(|| Some([left(stdout)?, left(stderr)?]))
    }
}

/// Returns the number of unread bytes in a pipe.
fn left(pipe: impl AsFd) -> Option<u64> {
    rustix::io::ioctl_fionread(pipe).ok()
}

/// Returns the least time that a print takes, by both clocks, given the shortest one that was timed.
fn least(shortest: [u64; 2]) -> [u64; 2] {
    let [ticks, nanos] = shortest.map(|it| it / FASTER);
    match nanos > FASTEST {
        true => [ticks / nanos.div_ceil(FASTEST), FASTEST],
        false => [ticks, nanos],
    }
}

/// Returns the time of the shortest of some prints, in ticks of the processor's counter and in nanoseconds.
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

/// Creates a pipe and an epoll instance that watches it, as a parent does. Returns the epoll instance, the
/// reader and the writer.
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
        let shortest = least(shortest_write().unwrap());
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

    /// A core that is slow during the measurement must not make a later print look like none.
    #[test]
    fn a_slow_measurement_is_limited() {
        assert_eq!(least([2400, 800]), [1200, 400]);
        let [ticks, nanos] = least([60_000, 20_000]);
        assert_eq!(nanos, FASTEST);
        assert_eq!(ticks, 1500, "at three ticks per nanosecond");
    }
}
