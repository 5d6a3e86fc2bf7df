//! Passes on the output of a worker, in order with its answers.

use std::os::fd::OwnedFd;

use super::Pool;
use super::output::{Lines, Of, Output, OutputEnd, Tail};
use super::receive::ReceiveSide;
use super::streams::{Queued, forward, poll_room};
use crate::api::context::short_name;
use crate::api::events::{Event, EventKind, Interest, Record, Stream, WorkerId};
use crate::config::OutputMode;
use crate::job::capture;
use crate::local::core::Core;
use crate::scheduler::Printing;
use crate::wire::frame::{self};
use crate::wire::launch;

impl ReceiveSide {
    /// Passes on the whole lines that the worker has printed so far.
    pub(super) fn print(&mut self, pool: Pool<'_>, socket: &OwnedFd) {
        self.drain(pool, false);
        // Take in the answers first: they tell which of the output belongs to earlier calls.
        if !self.look(pool, socket) && self.behind.is_none() {
            self.pass_current(pool);
        }
    }

    /// Reads what the worker has printed; if `end` is set, all of it. While too much output waits to be
    /// written, the rest is left in the worker's pipe.
    pub(super) fn drain(&mut self, pool: Pool<'_>, end: bool) {
        let (printer, held) = (self.printer(), self.behind.is_some());
        let room = |stream: Stream| end || !held && printer.poll_room(pool, stream);
        let epoll = pool.inbox().epoll();
        let control = &*self.control;
        let read = |stream: usize| {
            move |pipe: &OwnedFd, buffer: &mut Vec<u8>| {
                control.read_printed(stream, || {
                    rustix::io::read(pipe, rustix::buffer::spare_capacity(buffer))
                })
            }
        };
        self.stdout.drain(epoll, || room(Stream::Stdout), read(0));
        self.stderr.drain(epoll, || room(Stream::Stderr), read(1));
        // Load the claim after reading the pipes: a ticket that is claimed later has printed nothing of what
        // was read.
        self.claimed = self.control.claimed();
    }

    /// Passes on the output that belongs to answers already received.
    pub(super) fn pass_ended(&mut self, pool: Pool<'_>) {
        let (stdout, stderr, mut passing) = self.passing(pool);
        stdout.pass_ended(|of, line| passing.line(Stream::Stdout, of, line));
        stderr.pass_ended(|of, line| passing.line(Stream::Stderr, of, line));
    }

    /// Passes on everything that has been read.
    pub(super) fn pass_rest(&mut self, pool: Pool<'_>, of: &Of, lines: Lines) {
        let (stdout, stderr, mut passing) = self.passing(pool);
        stdout.pass_rest(lines, |line| passing.line(Stream::Stdout, of, line));
        stderr.pass_rest(lines, |line| passing.line(Stream::Stderr, of, line));
    }

    /// Passes on whole lines of the executing call, once all answers from before they were printed have been
    /// taken in.
    pub(super) fn pass_current(&mut self, pool: Pool<'_>) {
        if !self.stdout.is_pending() && !self.stderr.is_pending() {
            return;
        }
        if let Some(of) = pool.engine.step(|core, _| self.current(core)) {
            self.pass_rest(pool, &of, Lines::Whole);
        }
    }

    /// Returns the call that output beyond the last answer belongs to, or `None` if an answer that is still
    /// to come will tell.
    pub(super) fn current(&self, core: &Core) -> Option<Of> {
        match core.scheduler.printing(self.key, self.claimed) {
            Printing::One(ticket) if self.stdout.reports_ends() && self.stderr.reports_ends() => {
                Some(self.of(core, ticket))
            }
            // Such a worker answers one call before it begins the next.
            Printing::Several
                if self.serial && self.stdout.reports_ends() && self.stderr.reports_ends() =>
            {
                None
            }
            _ => Some(Of::default()),
        }
    }

    /// Returns the call that a ticket stands for.
    pub(super) fn of(&self, core: &Core, ticket: u64) -> Of {
        match core.scheduler.call_of(self.key, ticket) {
            Some((call, index, job)) => Of {
                call: Some(call),
                index,
                caller: Some(job.caller),
            },
            None => Of::default(),
        }
    }

    pub(super) fn passing<'a>(
        &'a mut self,
        pool: Pool<'a>,
    ) -> (
        &'a mut Output<OwnedFd>,
        &'a mut Output<OwnedFd>,
        Passing<'a>,
    ) {
        let passing = Passing {
            pool,
            printer: self.printer(),
            greeted: &mut self.greeted,
            tail: &mut self.tail,
            queued: &mut self.queued,
        };
        (&mut self.stdout, &mut self.stderr, passing)
    }

    /// Takes in the worker's report of where the output of a ticket ends.
    pub(super) fn take_in_ends(&mut self, core: &Core, ticket: u64, told: frame::Printed) {
        let of = if told.alone {
            self.of(core, ticket)
        } else {
            Of::default()
        };
        self.seen = self.seen.max(ticket);
        let last = told.last;
        let pipes = self.control.pipes();
        for (stream, output) in [&mut self.stdout, &mut self.stderr].into_iter().enumerate() {
            // Trust the positions only if the worker prints into this very pipe. Otherwise something stands
            // in between, such as a script that passes its output on.
            let inode = |pipe| rustix::fs::fstat(pipe).map_or(0, |stat| stat.st_ino);
            if !output.reports_ends()
                && output
                    .pipe()
                    .is_some_and(|pipe| inode(pipe) == pipes[stream])
            {
                output.expect_ends();
            }
            let at = told.ends[stream];
            let of = of.clone();
            output.push_end(OutputEnd { at, of, last });
        }
    }

    pub(super) fn printer(&self) -> Printer {
        Printer {
            function: self.function,
            worker: self.key.id,
            worker_pid: self.child.id(),
        }
    }
}

/// The worker that has printed something.
#[derive(Clone, Copy)]
pub(super) struct Printer {
    pub(super) function: &'static str,
    pub(super) worker: u64,
    pub(super) worker_pid: u32,
}

/// Passes on the lines of one worker.
pub(super) struct Passing<'a> {
    pub(super) pool: Pool<'a>,
    pub(super) printer: Printer,
    pub(super) greeted: &'a mut bool,
    pub(super) tail: &'a mut Tail,
    pub(super) queued: &'a mut [Option<Queued>; 2],
}

impl Passing<'_> {
    fn line(&mut self, stream: Stream, of: &Of, line: &[u8]) {
        match stream {
            // The first output comes from the test harness and ends with the mark. It is dropped.
            Stream::Stdout if !*self.greeted => {
                *self.greeted = line.ends_with(launch::MARK);
                return;
            }
            Stream::Stdout => {}
            Stream::Stderr => self.tail.push(of, line),
        }
        if let Some(queued) = self.printer.pass_on(self.pool, stream, of, line) {
            self.queued[queued.place()] = Some(queued);
        }
    }
}

impl Printer {
    /// Writes to the stream, or to where a test's own output goes.
    fn write(self, stream: Stream, of: &Of, line: &[u8]) -> Option<Queued> {
        if capture::is_on()
            && capture::write(
                stream,
                self.function,
                of.caller.map(|caller| caller.0),
                line,
            )
        {
            return None;
        }
        forward(stream, line)
    }

    fn poll_room(self, pool: Pool<'_>, stream: Stream) -> bool {
        pool.engine.config().output == OutputMode::None || poll_room(stream, pool.inbox().bell())
    }

    /// Passes on a line, which ends with a newline or is unfinished.
    fn pass_on(self, pool: Pool<'_>, stream: Stream, of: &Of, line: &[u8]) -> Option<Queued> {
        let queued = match pool.engine.config().output {
            OutputMode::Prefixed => {
                let name = short_name(self.function);
                let mut prefixed = match of.index {
                    Some(index) => format!("{name}[{index}]: ").into_bytes(),
                    None => format!("{name}: ").into_bytes(),
                };
                prefixed.extend_from_slice(line);
                // End the line, because what follows it gets a prefix as well.
                if !line.ends_with(b"\n") {
                    prefixed.push(b'\n');
                }
                self.write(stream, of, &prefixed)
            }
            OutputMode::Raw => self.write(stream, of, line),
            OutputMode::None => None,
        };
        if pool.engine.publisher().interest() == Interest::Everything {
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            let kind = EventKind::Output { stream, line };
            let mut event = Event::new(self.function, kind);
            event.call = of.call.map(|call| call.of(event.run));
            event.input_index = of.index;
            event.worker = Some(WorkerId::new(self.worker));
            event.worker_pid = Some(self.worker_pid);
            pool.engine.publisher().publish(Record::one(event));
        }
        queued
    }
}
