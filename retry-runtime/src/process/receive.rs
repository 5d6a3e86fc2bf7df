//! The receiving side of the connection to one worker process: its messages, its output, and its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Pool;
use super::connection::WorkerConnection;
use super::nested::Requests;
use super::output::{Lines, Of, Output, Tail};
use super::start::Child;
use super::streams::{Queued, end_of_queue, poll_unwritten};
use super::sweep::Family;
use crate::api::events::Stream;
use crate::api::excerpt::one_line;
use crate::api::failure::{Lost, Startup};
use crate::codec::buffers::BufferPool;
use crate::codec::payload::Payload;
use crate::function::registry;
use crate::local::answer::{decode_answer, text};
use crate::local::backend::StartRequest;
use crate::local::core::Core;
use crate::scheduler::{Answer, AnswerReport, FunctionKey, WorkerKey};
use crate::wait::end::Sleep;
use crate::wire::frame::{self, ANSWER_HEADER, AnswerHeader, Kind};
use crate::wire::frame_reader::FrameReader;
use crate::wire::handshake::Hello;
use crate::wire::stream::Reader;
use crate::wire::{ControlBlock, bell, launch};

/// The number of bytes allocated at once for a message on the strength of its announced length.
const MAX_FIRST_ALLOCATION: usize = 4 * 1024 * 1024;

/// The time for which a worker may live after it has closed its connection.
pub(super) const DYING: Duration = Duration::from_secs(1);

/// The receiving side of the connection to a worker, with the worker's process.
pub(super) struct ReceiveSide {
    pub(super) key: WorkerKey,
    pub(super) function: &'static str,
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) reader: Reader,
    pub(super) control: Arc<ControlBlock>,
    pub(super) requests: Requests,
    /// The worker's process and all its descendants.
    pub(super) family: Arc<Family>,
    pub(super) limit: usize,
    pub(super) input: FrameReader,
    /// The pool that the memory of large answers returns to.
    received: Arc<BufferPool>,
    pub(super) stdout: Output<OwnedFd>,
    pub(super) stderr: Output<OwnedFd>,
    pub(super) tail: Tail,
    /// Set once the output is the program's own, rather than the test harness's.
    pub(super) greeted: bool,
    pub(super) said_hello: bool,
    /// Set once the worker has reported the result of its set-up.
    pub(super) said_ready: bool,
    /// The request that the worker serves, if it was a standby.
    pub(super) again: Option<StartRequest>,
    /// Set once the worker's set-up has succeeded.
    pub(super) was_ready: bool,
    /// Set once the worker has asked to be replaced.
    pub(super) used_up: bool,
    /// Set once the worker has broken the protocol. Nothing more is read from then on.
    pub(super) broken: bool,
    /// Set once the worker has ended and been reaped.
    pub(super) reaped: bool,
    /// The last ticket that was answered.
    pub(super) answered: u64,
    /// The text of an error that is to follow, with its ticket.
    pub(super) text: Option<(u64, String)>,
    /// The number of answers since the worker last reported how long they took.
    pub(super) untimed: u32,
    /// `true` if the worker executes one call at a time.
    pub(super) serial: bool,
    /// The last ticket that was claimed when the worker's output was last read.
    pub(super) claimed: u64,
    /// The last ticket up to which the output is either attributed or has been passed on.
    pub(super) seen: u64,
    /// Set once the worker has reported where output ends. That output must be passed on before the next
    /// answer is taken in.
    pub(super) ends_reported: bool,
    /// The position of the line passed on last that waits for a reader, for each queue.
    pub(super) queued: [Option<Queued>; 2],
    /// The positions that must be written before held-back answers are taken in.
    pub(super) behind: Option<[Option<Queued>; 2]>,
}

/// The parts of a worker that its receiving side takes over.
pub(super) struct WorkerParts {
    pub(super) child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) reader: Reader,
    pub(super) control: Arc<ControlBlock>,
    pub(super) requests: Requests,
    pub(super) family: Arc<Family>,
}

impl ReceiveSide {
    /// Creates the receiving side of a worker that has its orders. Both ends of the connection use the same
    /// limit on the size of messages.
    pub(super) fn new(
        request: &StartRequest,
        parts: WorkerParts,
        received: Arc<BufferPool>,
        limit: usize,
        was_standby: bool,
    ) -> Self {
        let WorkerParts {
            mut child,
            pidfd,
            reader,
            control,
            requests,
            family,
        } = parts;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        // Otherwise a read would block on the worker. A failure to set the mode would show as exactly that.
        if let Some(pipe) = &stdout {
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        if let Some(pipe) = &stderr {
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        Self {
            key: request.worker,
            function: request.function,
            child,
            pidfd,
            reader,
            control,
            requests,
            family,
            limit,
            input: FrameReader::new(Arc::clone(&received)),
            received,
            stdout: Output::new(stdout),
            stderr: Output::new(stderr),
            tail: Tail::default(),
            greeted: !launch::marks_output(),
            said_hello: false,
            said_ready: false,
            again: was_standby.then(|| request.clone()),
            was_ready: false,
            used_up: false,
            broken: false,
            reaped: false,
            answered: 0,
            text: None,
            untimed: 0,
            serial: request.slots == 1,
            claimed: 0,
            seen: 0,
            ends_reported: false,
            queued: [None; 2],
            behind: None,
        }
    }

    /// Announces that a thread polls for answers, so that the worker rings no bell.
    pub(super) fn begin_poll(&self) {
        self.reader.disarm();
    }

    /// Announces that no thread polls any more, so that the worker must ring the bell. Returns false if there
    /// is something to take in first.
    pub(super) fn try_arm_bell(&self) -> bool {
        self.is_done() || self.reader.try_arm(Sleep::Bell)
    }

    /// Announces that a thread sleeps at the ring. Returns false if there is something to take in first.
    pub(super) fn try_arm_to_park(&self) -> bool {
        self.reader.try_arm(Sleep::Here)
    }

    /// Returns whether nothing more is taken in.
    pub(super) fn is_done(&self) -> bool {
        self.broken
    }

    /// Returns whether the worker has not answered anything yet.
    pub(super) fn is_new(&self) -> bool {
        self.answered == 0
    }

    /// Returns whether the worker has ended and been reaped.
    pub(super) fn is_reaped(&self) -> bool {
        self.reaped
    }

    /// Returns whether a large message is in progress in either direction: one has arrived in part, or one
    /// has been sent as far as there was room.
    pub(super) fn is_within_large(&self, connection: &WorkerConnection) -> bool {
        self.input.is_within_large() || connection.is_full()
    }

    /// Takes in what the worker has sent, if anything. Output that was printed before the answers is passed
    /// on first, and while it waits for a reader the answers wait as well. Returns whether anything was taken
    /// in.
    pub(super) fn look(&mut self, pool: Pool<'_>, socket: &OwnedFd) -> bool {
        if self.broken {
            return false;
        }
        let says = !self.reader.is_empty();
        if says {
            self.read(pool, socket);
        }
        if self.behind.is_some() {
            if self.check_hold(pool) {
                return false;
            }
            self.behind = None;
        } else if !says {
            return false;
        }
        if self.input.is_within_large() && !self.broken {
            return true;
        }
        self.take_in_all(pool, Pace::Output);
        true
    }

    /// Takes in what the worker has sent before a limit is enforced: it counts even if output waits for a
    /// reader.
    pub(super) fn look_at_once(&mut self, pool: Pool<'_>, socket: &OwnedFd) {
        if !self.broken && !self.reader.is_empty() {
            self.read(pool, socket);
        }
        self.behind = None;
        if !self.broken && !self.input.is_within_large() {
            self.take_in_all(pool, Pace::AtOnce);
        }
    }

    /// Returns whether answers are held back until the output that was printed before them is written.
    /// Forgets the positions that have been written, and registers the bell for the others.
    pub(super) fn check_hold(&mut self, pool: Pool<'_>) -> bool {
        let bell = pool.inbox().bell();
        let waits = |queued: Queued| poll_unwritten(queued, bell);
        self.behind = self
            .behind
            .map(|places| places.map(|place| place.filter(|it| waits(*it))));
        self.behind.is_some_and(|places| places != [None; 2])
    }

    /// Hands all messages to the scheduler. Output that was printed before an answer is passed on first.
    pub(super) fn take_in_all(&mut self, pool: Pool<'_>, pace: Pace) {
        let unseen = self.control.unseen();
        if unseen > self.seen || !self.stdout.reports_ends() || !self.stderr.reports_ends() {
            // It is unknown which output belongs to the calls that are answered, so pass on all of it.
            self.seen = unseen;
            self.drain(pool, false);
            self.pass_ended(pool);
            self.pass_rest(pool, &Of::default(), Lines::Whole);
            if self.hold_back(pool, pace) {
                return;
            }
        }
        let is_behind = self.stdout.is_behind() || self.stderr.is_behind();
        if is_behind && !self.try_pass_ended(pool, pace) {
            return;
        }
        // A nested call that a function has made before it answered comes before its answer.
        if self.control.requests() != self.requests.taken {
            self.receive_requests(pool);
        }
        loop {
            pool.engine.step(|core, now| {
                // Output that was printed by several calls, or by calls that do not report where theirs ends.
                let pending = self.stdout.is_pending() || self.stderr.is_pending();
                let executed = pending && self.executes(core);
                self.take_in(core, now);
                // While a call is executing, the rest may be the beginning of a line. Once none is, pass it
                // on here: the answers are delivered at the end of the step.
                if executed && !self.ends_reported && !self.executes(core) {
                    self.pass_rest(pool, &Of::default(), Lines::All);
                }
            });
            if !std::mem::take(&mut self.ends_reported) {
                break;
            }
            if !self.try_pass_ended(pool, pace) {
                return;
            }
        }
        self.pass_current(pool);
    }

    /// Returns whether a call is executing that may have printed what was read last.
    pub(super) fn executes(&self, core: &Core) -> bool {
        !core.scheduler.executes_nothing(self.key, self.claimed)
    }

    /// Holds answers back if the output passed on last must be written before them. The I/O thread then looks
    /// again later. Returns whether they are held back.
    pub(super) fn hold_back(&mut self, pool: Pool<'_>, pace: Pace) -> bool {
        let queued = std::mem::take(&mut self.queued);
        if pace == Pace::AtOnce || queued == [None; 2] {
            return false;
        }
        self.behind = Some(queued);
        let held = self.check_hold(pool);
        if held {
            pool.inbox().hold(self.key.id);
        } else {
            self.behind = None;
        }
        held
    }

    /// Passes on the output of the calls that are answered next. Returns false if that must be waited for.
    pub(super) fn try_pass_ended(&mut self, pool: Pool<'_>, pace: Pace) -> bool {
        if self.stdout.is_behind() || self.stderr.is_behind() {
            self.drain(pool, false);
        }
        self.pass_ended(pool);
        // Output that there was no room for is read once there is some.
        if self.stdout.is_behind() {
            self.wait_for_room(Stream::Stdout);
        }
        if self.stderr.is_behind() {
            self.wait_for_room(Stream::Stderr);
        }
        !self.hold_back(pool, pace)
    }

    pub(super) fn wait_for_room(&mut self, stream: Stream) {
        if let Some(queued) = end_of_queue(stream) {
            self.queued[queued.place()] = Some(queued);
        }
    }

    pub(super) fn read(&mut self, pool: Pool<'_>, socket: &OwnedFd) -> usize {
        let (reader, longest) = (&mut self.reader, self.limit);
        match self
            .input
            .read(reader, ANSWER_HEADER, longest, MAX_FIRST_ALLOCATION)
        {
            Ok(read) => {
                if self.reader.wake_writer() {
                    bell::ring(socket);
                }
                read
            }
            Err(corrupt) => {
                self.breach(pool, corrupt.to_string());
                0
            }
        }
    }

    /// Records that the worker has broken the protocol. Nothing that it sends is read any longer.
    pub(super) fn breach(&mut self, pool: Pool<'_>, reason: String) {
        self.broken = true;
        pool.engine
            .step(|core, _| core.scheduler.kill_broken(self.key, reason.into()));
    }

    /// Takes in the nested calls of the worker's functions.
    pub(super) fn receive_requests(&mut self, pool: Pool<'_>) {
        while !self.broken {
            match self.requests.receive(pool) {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => self.breach(pool, reason),
            }
        }
    }

    /// Hands all complete messages to the scheduler.
    fn take_in(&mut self, core: &mut Core, now: Instant) {
        let mut function: Option<FunctionKey> = None;
        while !self.broken && !self.ends_reported {
            let taken = if let Some(values) = self.input.take_short() {
                self.take_in_short(core, now, values)
            } else {
                match self.input.take_answer(self.limit) {
                    Ok(None) => break,
                    Ok(Some((header, payload))) => {
                        self.take_in_message(core, now, &header, payload)
                    }
                    Err(reason) => Err(reason),
                }
            };
            match taken {
                Ok(touched) => function = touched.or(function),
                Err(reason) => {
                    self.broken = true;
                    core.scheduler.kill_broken(self.key, reason.into());
                }
            }
        }
        if let Some(function) = function {
            core.scheduler.go_on(now, function);
        }
    }

    /// Takes in short values, which follow the last answer.
    fn take_in_short(
        &mut self,
        core: &mut Core,
        now: Instant,
        values: Payload,
    ) -> Result<Option<FunctionKey>, String> {
        let count = values.count();
        self.untimed = self.untimed.saturating_add(count);
        let first = self.answered.saturating_add(1);
        self.report_answers(core, now, first, count, AnswerReport::untimed(values))
    }

    /// Reports answers to `count` tickets to the scheduler, starting with `ticket`.
    fn report_answers(
        &mut self,
        core: &mut Core,
        now: Instant,
        ticket: u64,
        count: u32,
        report: AnswerReport,
    ) -> Result<Option<FunctionKey>, String> {
        let function = core.scheduler.handle_answer(now, self.key, ticket, report);
        self.answered = ticket.saturating_add(u64::from(count) - 1);
        function.map_err(|_| format!("an answer to ticket {ticket}, which it does not hold"))
    }

    /// Takes in one message. An error is a breach of the protocol.
    fn take_in_message(
        &mut self,
        core: &mut Core,
        now: Instant,
        header: &AnswerHeader,
        payload: Bytes,
    ) -> Result<Option<FunctionKey>, String> {
        let answer = match header.kind {
            Kind::Hello if !std::mem::replace(&mut self.said_hello, true) => {
                let expected = Hello {
                    fingerprint: registry::fingerprint(),
                };
                if Hello::decode(&payload) != Some(expected) {
                    let reason = "the worker's program registers other functions than this one, or \
                                  with other types; was it rebuilt?";
                    core.fail_handshake(self.key, reason.to_owned());
                }
                return Ok(None);
            }
            Kind::OutOfMemory => {
                core.scheduler.kill_out_of_memory(self.key);
                return Ok(None);
            }
            Kind::Ready if !std::mem::replace(&mut self.said_ready, true) => {
                self.was_ready = true;
                core.scheduler.mark_ready(now, self.key);
                return Ok(None);
            }
            Kind::SetUpFailed if !std::mem::replace(&mut self.said_ready, true) => {
                core.scheduler
                    .fail_start(self.key, Startup::SetUp(text(&payload)));
                return Ok(None);
            }
            Kind::ErrText => {
                self.text = Some((header.ticket, one_line(&text(&payload))));
                return Ok(None);
            }
            Kind::Printed => {
                let told = frame::Printed::decode(payload).ok_or("output without an end")?;
                self.take_in_ends(core, header.ticket, told);
                self.ends_reported = true;
                return Ok(None);
            }
            _ => decode_answer(header, payload, self.limit)?,
        };
        let answer = match answer {
            Answer::Ok(value) => Answer::Ok(value.of_pool(&self.received)),
            other => other,
        };
        let answer = match (answer, self.requests.take_for_answer(header.ticket)) {
            (Answer::Ok(value), Ok(objects)) if !objects.is_empty() => {
                Answer::Ok(objects.payload(value))
            }
            (Answer::Ok(_), Err(reason)) => Answer::Lost(Lost::NotDecodable {
                reason: reason.into(),
            }),
            (answer, _) => answer,
        };
        let of_this = |(ticket, _): &mut (u64, String)| *ticket == header.ticket;
        let error = self.text.take_if(of_this).map(|(_, text)| text.into());
        self.used_up |= header.used_up;
        let untimed = std::mem::take(&mut self.untimed);
        let (tail, timed) = match answer {
            Answer::Ok(_) => (None, untimed.saturating_add(1)),
            // The duration of a failed attempt covers this one alone.
            _ => (self.tail.text(), 1),
        };
        let report = AnswerReport {
            answer,
            duration: Duration::from_nanos(header.duration),
            timed,
            used_up: header.used_up,
            error,
            stderr_tail: tail,
        };
        self.report_answers(core, now, header.ticket, 1, report)
    }
}

/// The choice between letting answers wait for the output printed before them, and taking them in at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// They wait until the output is written, or until the stream accepts nothing any more.
    Output,
    AtOnce,
}
