//! The parent's view of one worker process: what it says, prints, and leaves behind.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{WaitIdStatus, WaitStatus};

use super::nested::Requests;
use super::output::{End, Lines, Of, Output, Tail};
use super::process::Child;
use super::sources::{SOCKET, Writable};
use super::streams::{Queued, end_of_queue, forward, has_room, is_to_be_taken};
use super::sweep::Family;
use super::{OwnedPool, Pool};
use crate::api::context::short_name;
use crate::api::error::{ExitCause, Panic, Startup};
use crate::api::events::{Event, Stream};
use crate::api::excerpt::one_line;
use crate::codec;
use crate::codec::payload::Payload;
use crate::config::OutputMode;
use crate::engine::answer::{decode_answer, text};
use crate::engine::backend::StartRequest;
use crate::engine::core::Core;
use crate::function::registry;
use crate::job::capture;
use crate::scheduler::{Answer, ExitReport, FunctionKey, LastPanic, Printing, Reply, WorkerKey};
use crate::sys::children;
use crate::sys::group::kill_group;
use crate::wait::AnswerSource;
use crate::wire::bell::Heard;
use crate::wire::frame::{self, ANSWER_HEADER, AnswerHeader, Kind};
use crate::wire::frame_reader::FrameReader;
use crate::wire::ring::{Parker, Sleep};
use crate::wire::stream::Reader;
use crate::wire::{ControlBlock, KEPT, bell, launch, socket};

/// How much room is made at once for a message that says it is that large.
const ROOM: usize = 4 * 1024 * 1024;

/// How long a worker may live after it has closed its connection.
pub(super) const DYING: Duration = Duration::from_secs(1);

/// Where a worker's answers arrive. The I/O thread looks there when the worker wakes it; who
/// waits for an answer may look for it there itself, which wakes nobody.
pub(crate) struct WorkerConnection {
    pub(crate) key: WorkerKey,
    pub(crate) socket: Arc<OwnedFd>,
    receiver: Mutex<ReceiveSide>,
    /// How many threads wait for the peer.
    wanted: AtomicUsize,
    /// Whether calls wait for room on their way to the worker.
    full: AtomicBool,
    /// Where a thread sleeps that waits for an answer; nowhere if frames come through the socket.
    pub(super) parker: Option<Parker>,
    /// Whether there is one.
    occupied: AtomicBool,
    /// What tells that the socket has room.
    writable: Writable,
}

impl WorkerConnection {
    pub(super) fn new(socket: Arc<OwnedFd>, receiver: ReceiveSide, writable: Writable) -> Self {
        Self {
            key: receiver.key,
            socket,
            parker: receiver.reader.parker(),
            writable,
            receiver: Mutex::new(receiver),
            wanted: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            occupied: AtomicBool::new(false),
        }
    }

    /// The peer, as soon as whoever looks for answers there lets go of it.
    pub(super) fn receiver(&self) -> MutexGuard<'_, ReceiveSide> {
        if let Some(receiver) = self.try_peer() {
            return receiver;
        }
        let _wanted = self.want();
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever looks for answers let go of the peer.
    pub(super) fn want(&self) -> Wanted<'_> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        Wanted(self)
    }

    /// The peer, unless somebody looks for answers there already.
    pub(super) fn try_peer(&self) -> Option<MutexGuard<'_, ReceiveSide>> {
        match self.receiver.try_lock() {
            Ok(receiver) => Some(receiver),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether another thread waits for the peer.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Lets one thread at a time sleep here.
    pub(super) fn try_register_waiter(&self) -> bool {
        !self.occupied.swap(true, Ordering::AcqRel)
    }

    /// Whether a thread sleeps here, or is about to.
    pub(super) fn has_waiter(&self) -> bool {
        self.occupied.load(Ordering::Acquire)
    }

    /// An exchange and not a store: whoever is refused before it has spared the bell before what comes
    /// after it.
    pub(super) fn unregister_waiter(&self) {
        self.occupied.swap(false, Ordering::AcqRel);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Goes on with calls that wait for room; whether some of that was sent.
    pub(super) fn sends_on(&self, pool: Pool<'_>) -> bool {
        self.is_full() && pool.engine.step(|core, _| core.flush(self.key))
    }

    /// To be called under the engine's lock.
    pub(crate) fn set_full(&self, full: bool) {
        if full != self.is_full() {
            self.full.store(full, Ordering::Relaxed);
            self.watch_room();
        }
    }

    /// Has the I/O thread go on writing when the socket has room, while that is waited for. To be
    /// called under the engine's lock.
    pub(super) fn watch_room(&self) {
        if self.parker.is_none() {
            let (worker, full) = (self.key.id, self.is_full());
            self.writable.set(&self.socket, worker, SOCKET, full);
        }
    }

    /// What the worker has said through the socket. Frames are left there.
    pub(super) fn hear(&self) -> Heard {
        match self.parker {
            Some(_) => bell::look(&self.socket),
            None => socket::look(&self.socket),
        }
    }
}

impl AnswerSource for WorkerConnection {
    fn will_be_polled(&self) {
        if let Some(parker) = &self.parker {
            parker.announce_poll();
        }
    }

    fn unpark(&self) {
        if let Some(parker) = &self.parker {
            parker.unpark();
        }
    }
}

/// As long as this is there a thread waits for a peer.
pub(super) struct Wanted<'a>(&'a WorkerConnection);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a worker has ended.
pub(super) enum Reaped {
    /// There was nothing to do for it, or it was not ready yet.
    Retired,
    /// It was ready, and has ended for another reason.
    Died,
    /// It was a standby that was killed before it had heard of its function: another worker is to be
    /// started for this request.
    Again(StartRequest),
}

/// The receiving side of the connection to a worker, with its process.
pub(crate) struct ReceiveSide {
    key: WorkerKey,
    function: &'static str,
    child: Child,
    pub(super) pidfd: OwnedFd,
    reader: Reader,
    control: Arc<ControlBlock>,
    pub(super) requests: Requests,
    /// Its process with all that descends from it.
    family: Arc<Family>,
    limit: usize,
    input: FrameReader,
    pub(super) stdout: Output<OwnedFd>,
    pub(super) stderr: Output<OwnedFd>,
    tail: Tail,
    /// What it prints from now on is the program's.
    greeted: bool,
    said_hello: bool,
    /// It has said what became of its set-up.
    said_ready: bool,
    /// What it was asked for, where it was a standby.
    again: Option<StartRequest>,
    /// Its set-up has succeeded.
    was_ready: bool,
    /// It has asked to be replaced.
    used_up: bool,
    /// It has sent what makes no sense; nothing more is read.
    broken: bool,
    /// It has ended.
    buried: bool,
    /// The last ticket that was answered.
    answered: u64,
    /// The text of the error that is to follow for a ticket.
    text: Option<(u64, String)>,
    /// How many answers have come since it last told how long they took.
    untimed: u32,
    /// Set if it executes one call at a time.
    serial: bool,
    /// The last ticket that was claimed when its output was last read.
    claimed: u64,
    /// Up to which ticket it is known what was printed, or what there was has been passed on.
    seen: u64,
    /// It has told where output ends, and that is to be passed on before the next answer is taken in.
    ends: bool,
    /// What was passed on last and has to wait for a reader, by the stream where it is queued.
    queued: [Option<Queued>; 2],
    /// What answers are held back for.
    behind: Option<[Option<Queued>; 2]>,
}

impl ReceiveSide {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a worker, each once"
    )]
    pub(super) fn new(
        key: WorkerKey,
        function: &'static str,
        mut child: Child,
        pidfd: OwnedFd,
        reader: Reader,
        control: Arc<ControlBlock>,
        requests: Requests,
        family: Arc<Family>,
        limit: usize,
        serial: bool,
        again: Option<StartRequest>,
    ) -> Self {
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        // Without this a read would wait for the worker; a failure would show as exactly that.
        if let Some(pipe) = &stdout {
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        if let Some(pipe) = &stderr {
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        Self {
            key,
            function,
            child,
            pidfd,
            reader,
            control,
            requests,
            family,
            limit,
            input: FrameReader::default(),
            stdout: Output::new(stdout),
            stderr: Output::new(stderr),
            tail: Tail::default(),
            greeted: !launch::marks_output(),
            said_hello: false,
            said_ready: false,
            again,
            was_ready: false,
            used_up: false,
            broken: false,
            buried: false,
            answered: 0,
            text: None,
            untimed: 0,
            serial,
            claimed: 0,
            seen: 0,
            ends: false,
            queued: [None; 2],
            behind: None,
        }
    }

    /// Says that somebody looks for answers.
    pub(super) fn begin_poll(&self) {
        self.reader.disarm();
    }

    /// Says that nobody will look for answers any more unless the worker asks for it. False if
    /// there is something to take in first.
    pub(super) fn try_arm_bell(&self) -> bool {
        self.is_done() || self.reader.sleeps(Sleep::Bell)
    }

    /// Says that somebody sleeps at the ring. False if there is something to take in first.
    pub(super) fn try_arm_parker(&self) -> bool {
        self.reader.sleeps(Sleep::Here)
    }

    /// Whether nothing more is taken in.
    pub(super) fn is_done(&self) -> bool {
        self.broken
    }

    /// Whether it has not answered anything yet.
    pub(super) fn is_new(&self) -> bool {
        self.answered == 0
    }

    /// Whether it has ended, and nothing more is left of it.
    pub(super) fn is_buried(&self) -> bool {
        self.buried
    }

    /// Whether a part of a large message has come, or has been sent to where there was room for it.
    pub(super) fn is_within_large(&self, connection: &WorkerConnection) -> bool {
        self.input.is_within_large() || connection.is_full()
    }

    /// Takes in what the worker has said, if anything. What it printed before is passed on first, and as long
    /// as that waits for a reader the answers wait as well.
    pub(super) fn look(&mut self, pool: Pool<'_>, socket: &OwnedFd) -> bool {
        if self.broken {
            return false;
        }
        let says = !self.reader.is_empty();
        if says {
            self.read(pool, socket);
        }
        if self.behind.is_some() {
            if self.is_held(pool) {
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

    /// The same before a limit is enforced: what has come counts, whatever waits for a reader.
    pub(super) fn look_at_once(&mut self, pool: Pool<'_>, socket: &OwnedFd) {
        if !self.broken && !self.reader.is_empty() {
            self.read(pool, socket);
        }
        self.behind = None;
        if !self.broken && !self.input.is_within_large() {
            self.take_in_all(pool, Pace::AtOnce);
        }
    }

    /// Returns whether answers are held back until what was printed before them is written.
    pub(super) fn is_held(&mut self, pool: Pool<'_>) -> bool {
        let bell = pool.inbox().bell();
        let waits = |queued: Queued| is_to_be_taken(queued, bell);
        self.behind = self
            .behind
            .map(|places| places.map(|place| place.filter(|it| waits(*it))));
        self.behind.is_some_and(|places| places != [None; 2])
    }

    /// Hands all messages to the scheduler. What was printed before an answer is passed on first.
    fn take_in_all(&mut self, pool: Pool<'_>, pace: Pace) {
        let unseen = self.control.unseen();
        if unseen > self.seen || !self.stdout.tells() || !self.stderr.tells() {
            // What is answered has printed nobody knows what.
            self.seen = unseen;
            self.drain(pool, false);
            self.pass_ended(pool);
            self.pass_rest(pool, &Of::default(), Lines::Whole);
            if self.waits(pool, pace) {
                return;
            }
        }
        let is_behind = self.stdout.is_behind() || self.stderr.is_behind();
        if is_behind && !self.passes_ended(pool, pace) {
            return;
        }
        // What a function has called before it answered comes before its answer.
        if self.control.requests() != self.requests.taken {
            self.receive_requests(pool);
        }
        loop {
            pool.engine.step(|core, now| {
                // What was printed by several calls, or by some that tell nothing.
                let pending = self.stdout.is_pending() || self.stderr.is_pending();
                let executed = pending && self.executes(core);
                self.take_in(core, now);
                // A call that is still executing might be in the middle of a line. It is passed on before
                // the answers are delivered, which they are at the end of the step.
                if executed && !self.ends && !self.executes(core) {
                    self.pass_rest(pool, &Of::default(), Lines::All);
                }
            });
            if !std::mem::take(&mut self.ends) {
                break;
            }
            if !self.passes_ended(pool, pace) {
                return;
            }
        }
        self.pass_current(pool);
    }

    /// Returns whether a call is executing that may have printed what was read last.
    fn executes(&self, core: &Core) -> bool {
        !core.scheduler.executes_nothing(self.key, self.claimed)
    }

    /// Returns whether what was passed on last has to be waited for. Then the I/O thread looks again.
    fn waits(&mut self, pool: Pool<'_>, pace: Pace) -> bool {
        let queued = std::mem::take(&mut self.queued);
        if pace == Pace::AtOnce || queued == [None; 2] {
            return false;
        }
        self.behind = Some(queued);
        let held = self.is_held(pool);
        if held {
            pool.inbox().hold(self.key.id);
        } else {
            self.behind = None;
        }
        held
    }

    /// Passes on what was printed for answers that are next. False if that has to be waited for.
    fn passes_ended(&mut self, pool: Pool<'_>, pace: Pace) -> bool {
        if self.stdout.is_behind() || self.stderr.is_behind() {
            self.drain(pool, false);
        }
        self.pass_ended(pool);
        // What there was no room for is read once there is some.
        if self.stdout.is_behind() {
            self.wait_for_room(Stream::Stdout);
        }
        if self.stderr.is_behind() {
            self.wait_for_room(Stream::Stderr);
        }
        !self.waits(pool, pace)
    }

    fn wait_for_room(&mut self, stream: Stream) {
        if let Some(queued) = end_of_queue(stream) {
            self.queued[queued.place()] = Some(queued);
        }
    }

    fn read(&mut self, pool: Pool<'_>, socket: &OwnedFd) -> usize {
        let (reader, longest) = (&mut self.reader, self.limit);
        match self.input.read(reader, ANSWER_HEADER, longest, ROOM) {
            Ok(read) => {
                if self.reader.wakes() {
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

    /// The worker has broken the protocol: nothing that it says is listened to any longer.
    fn breach(&mut self, pool: Pool<'_>, reason: String) {
        self.broken = true;
        pool.engine
            .step(|core, _| core.scheduler.broken(self.key, reason.into()));
    }

    /// Takes in what the worker's functions call.
    pub(super) fn receive_requests(&mut self, pool: Pool<'_>) {
        while !self.broken {
            match self.requests.receive(pool) {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => self.breach(pool, reason),
            }
        }
    }

    /// Passes on what the worker has printed so far, whole lines.
    pub(super) fn print(&mut self, pool: Pool<'_>, socket: &OwnedFd) {
        self.drain(pool, false);
        // What has been answered by now tells which of it is of earlier calls.
        if !self.look(pool, socket) && self.behind.is_none() {
            self.pass_current(pool);
        }
    }

    /// Reads what the worker has printed; at its end, all of it. While too much waits for a reader, the rest
    /// is left in the worker's pipe.
    fn drain(&mut self, pool: Pool<'_>, end: bool) {
        let (printed, held) = (self.printed(), self.behind.is_some());
        let room = |stream: Stream| end || !held && printed.has_room(pool, stream);
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
        // Looked at after the pipes were read: what is claimed later has printed nothing of it.
        self.claimed = self.control.claimed();
    }

    /// Passes on what belongs to answers that have come.
    fn pass_ended(&mut self, pool: Pool<'_>) {
        let (stdout, stderr, mut passing) = self.passing(pool);
        stdout.pass_ended(|of, line| passing.line(Stream::Stdout, of, line));
        stderr.pass_ended(|of, line| passing.line(Stream::Stderr, of, line));
    }

    /// Passes on all that was read.
    fn pass_rest(&mut self, pool: Pool<'_>, of: &Of, lines: Lines) {
        let (stdout, stderr, mut passing) = self.passing(pool);
        stdout.pass_rest(lines, |line| passing.line(Stream::Stdout, of, line));
        stderr.pass_rest(lines, |line| passing.line(Stream::Stderr, of, line));
    }

    /// Passes on whole lines of what is executing, once all answers from before it was printed are taken in.
    fn pass_current(&mut self, pool: Pool<'_>) {
        if !self.stdout.is_pending() && !self.stderr.is_pending() {
            return;
        }
        if let Some(of) = pool.engine.step(|core, _| self.current(core)) {
            self.pass_rest(pool, &of, Lines::Whole);
        }
    }

    /// What belongs to no answer that has come is from this; `None` if an answer is still to come that tells.
    fn current(&self, core: &Core) -> Option<Of> {
        match core.scheduler.printing(self.key, self.claimed) {
            Printing::One(ticket) if self.stdout.tells() && self.stderr.tells() => {
                Some(self.of(core, ticket))
            }
            // It answers one before it begins the next.
            Printing::Several if self.serial && self.stdout.tells() && self.stderr.tells() => None,
            _ => Some(Of::default()),
        }
    }

    /// What a ticket stands for.
    fn of(&self, core: &Core, ticket: u64) -> Of {
        match core.scheduler.call_of(self.key, ticket) {
            Some((call, index, job)) => Of {
                call: Some(call),
                index,
                caller: Some(job.caller),
            },
            None => Of::default(),
        }
    }

    fn passing<'a>(
        &'a mut self,
        pool: Pool<'a>,
    ) -> (
        &'a mut Output<OwnedFd>,
        &'a mut Output<OwnedFd>,
        Passing<'a>,
    ) {
        let passing = Passing {
            pool,
            printed: self.printed(),
            greeted: &mut self.greeted,
            tail: &mut self.tail,
            queued: &mut self.queued,
        };
        (&mut self.stdout, &mut self.stderr, passing)
    }

    /// The worker tells where the output of a ticket ends.
    fn told(&mut self, core: &Core, ticket: u64, told: frame::Printed) {
        let of = if told.alone {
            self.of(core, ticket)
        } else {
            Of::default()
        };
        self.seen = self.seen.max(ticket);
        let last = told.last;
        let pipes = self.control.pipes();
        for (stream, output) in [&mut self.stdout, &mut self.stderr].into_iter().enumerate() {
            // Something else may stand between, such as a script that passes it on.
            let inode = |pipe| rustix::fs::fstat(pipe).map_or(0, |stat| stat.st_ino);
            if !output.tells()
                && output
                    .pipe()
                    .is_some_and(|pipe| inode(pipe) == pipes[stream])
            {
                output.is_told();
            }
            let at = told.ends[stream];
            let of = of.clone();
            output.ends(End { at, of, last });
        }
    }

    fn printed(&self) -> Printed {
        Printed {
            function: self.function,
            worker_pid: self.child.id(),
        }
    }

    /// Hands all whole messages to the scheduler.
    fn take_in(&mut self, core: &mut Core, now: Instant) {
        let mut function: Option<FunctionKey> = None;
        while !self.broken && !self.ends {
            let taken = if let Some(values) = frame::take_short(&mut self.input) {
                self.short(core, now, values)
            } else {
                match AnswerHeader::take(&mut self.input, self.limit) {
                    Ok(None) => break,
                    Ok(Some((header, payload))) => self.message(core, now, &header, payload),
                    Err(reason) => Err(reason),
                }
            };
            match taken {
                Ok(touched) => function = touched.or(function),
                Err(reason) => {
                    self.broken = true;
                    core.scheduler.broken(self.key, reason.into());
                }
            }
        }
        if let Some(function) = function {
            core.scheduler.go_on(now, function);
        }
    }

    /// Values that follow the last answer.
    fn short(
        &mut self,
        core: &mut Core,
        now: Instant,
        values: Payload,
    ) -> Result<Option<FunctionKey>, String> {
        let count = values.count();
        self.untimed = self.untimed.saturating_add(count);
        let first = self.answered.saturating_add(1);
        self.finished(core, now, first, count, Reply::untimed(values))
    }

    /// Answers to so many tickets, from this one on.
    fn finished(
        &mut self,
        core: &mut Core,
        now: Instant,
        ticket: u64,
        count: u32,
        reply: Reply,
    ) -> Result<Option<FunctionKey>, String> {
        let function = core.scheduler.finished(now, self.key, ticket, reply);
        self.answered = ticket.saturating_add(u64::from(count) - 1);
        function.map_err(|_| format!("an answer to ticket {ticket}, which it does not hold"))
    }

    /// One message. An error is a breach of the protocol.
    fn message(
        &mut self,
        core: &mut Core,
        now: Instant,
        header: &AnswerHeader,
        payload: Bytes,
    ) -> Result<Option<FunctionKey>, String> {
        let answer = match header.kind {
            Kind::Hello if !std::mem::replace(&mut self.said_hello, true) => {
                if payload[..] != registry::fingerprint().to_le_bytes() {
                    let reason = "the worker's program registers other functions than this one; \
                                  was it rebuilt?";
                    core.handshake_failed(self.key, reason.to_owned());
                }
                return Ok(None);
            }
            Kind::OutOfMemory => {
                core.scheduler.out_of_memory(self.key);
                return Ok(None);
            }
            Kind::Ready if !std::mem::replace(&mut self.said_ready, true) => {
                self.was_ready = true;
                core.scheduler.ready(now, self.key);
                return Ok(None);
            }
            Kind::SetUpFailed if !std::mem::replace(&mut self.said_ready, true) => {
                core.scheduler
                    .failed_to_start(self.key, Startup::SetUp(text(&payload)));
                return Ok(None);
            }
            Kind::ErrText => {
                self.text = Some((header.ticket, one_line(&text(&payload))));
                return Ok(None);
            }
            Kind::Printed => {
                let told = frame::Printed::decode(payload).ok_or("output without an end")?;
                self.told(core, header.ticket, told);
                self.ends = true;
                return Ok(None);
            }
            _ => decode_answer(header, payload, self.limit)?,
        };
        let of_this = |(ticket, _): &mut (u64, String)| *ticket == header.ticket;
        let error = self.text.take_if(of_this).map(|(_, text)| text.into());
        self.used_up |= header.used_up;
        let untimed = std::mem::take(&mut self.untimed);
        let (tail, timed) = match answer {
            Answer::Ok(_) => (None, untimed.saturating_add(1)),
            // It tells of this one alone.
            _ => (self.tail.text(), 1),
        };
        let reply = Reply {
            answer,
            duration: Duration::from_nanos(header.duration),
            timed,
            used_up: header.used_up,
            error,
            stderr_tail: tail,
        };
        self.finished(core, now, header.ticket, 1, reply)
    }

    /// The process lives on without its connection.
    pub(super) fn overdue(&mut self, pool: Pool<'_>, socket: &OwnedFd) {
        self.look_at_once(pool, socket);
        self.breach(pool, "it closed its connection".to_owned());
        kill_group(self.child.id());
    }

    /// The process has ended: passes on what it has printed, with the answers that it left. False if
    /// something is still to be written for that.
    pub(super) fn last_look(&mut self, pool: Pool<'_>, socket: &OwnedFd) -> bool {
        self.drain(pool, true);
        if !self.look(pool, socket) && self.behind.is_none() {
            self.pass_current(pool);
        }
        self.behind.is_none() && !self.waits(pool, Pace::Output)
    }

    /// Takes in all that a process has left that has ended, and reaps it.
    pub(super) fn reap(&mut self, owned: &OwnedPool, socket: &OwnedFd) -> Reaped {
        let pool = owned.get();
        // What it printed comes before the answers that it left.
        self.drain(pool, true);
        pool.engine.step(|core, _| core.unlink(self.key));
        self.behind = None;
        self.take_in_all(pool, Pace::AtOnce);
        // Nobody writes any more, or whoever does is not listened to for ever.
        let mut left = self.reader.left_behind();
        while left > 0 && !self.broken && !self.reader.is_empty() {
            left = left.saturating_sub(self.read(pool, socket));
            self.take_in_all(pool, Pace::AtOnce);
        }
        // Nothing more is looked for.
        self.broken = true;
        self.buried = true;
        let mut cause = match children::kill_rest(self.child.id(), kill_group) {
            Some(status) => cause_of(&status),
            // It cannot be told without waiting for it, or not at all.
            None => self
                .child
                .wait()
                .map_or(ExitCause::Unknown, cause_of_waited),
        };
        // Claimed only if the kernel says that it was that.
        if matches!(cause, ExitCause::Signal { signal: 9, .. })
            && let Some(cgroup) = &self.family.cgroup
            && let Some((limit, peak)) = cgroup.out_of_memory()
        {
            cause = ExitCause::OutOfMemory { limit, peak };
        }
        // A grandchild may hold the pipes open: what is there now is all that is waited for.
        self.drain(pool, true);
        self.pass_ended(pool);
        let of = pool.engine.step(|core, _| self.current(core));
        self.pass_rest(pool, &of.unwrap_or_default(), Lines::All);
        let last = self.control.last_words().and_then(|(ticket, words)| {
            let panic = codec::decode_all::<Panic>(&words).ok()?;
            Some(LastPanic { ticket, panic })
        });
        let mut stderr_tail = self.tail.text();
        let panic = match last {
            // The function caught it, and what ended the process came after it: it is what would have
            // been printed last.
            Some(caught) if caught.ticket == KEPT => {
                let before = stderr_tail.as_deref().unwrap_or_default();
                stderr_tail = Some(format!("{before}{}", caught.panic.as_printed()).into());
                None
            }
            last => last,
        };
        let report = ExitReport {
            cause,
            claimed: self.control.claimed(),
            panic,
            stderr_tail,
        };
        // A standby that was killed before it had heard of its function: nothing of that has begun.
        if let Some(request) = self.again.take_if(|_| !self.said_hello)
            && pool
                .engine
                .step(|core, _| core.scheduler.is_wanted(self.key))
        {
            let _ = self.child.wait();
            self.family.end(None);
            return Reaped::Again(request);
        }
        self.family.begin_end();
        let died = pool.engine.step(|core, now| {
            pool.state().unreaped += 1;
            let died = self.was_ready && self.has_died(core, &report);
            core.scheduler.exited(now, self.key, report);
            self.requests.let_go(core);
            died
        });
        // Only now, since it takes a while: what it held has been handed out again.
        let _ = self.child.wait();
        self.family.end(Some(owned.clone()));
        if died { Reaped::Died } else { Reaped::Retired }
    }

    /// Whether a worker has crashed, was killed, or was used up.
    fn has_died(&self, core: &Core, report: &ExitReport) -> bool {
        let function = core.scheduler.function_of(self.key);
        let most = function.and_then(|(_, policy)| policy.max_calls_per_worker);
        report.cause != ExitCause::Code(0)
            || !core.scheduler.executes_nothing(self.key, report.claimed)
            || self.used_up
            || most.is_some_and(|most| report.claimed >= most)
    }
}

/// How a process has ended that is not waited for yet.
fn cause_of(status: &WaitIdStatus) -> ExitCause {
    let (signal, code) = (status.terminating_signal(), status.exit_status());
    exit_cause(signal, status.dumped(), code)
}

/// How a process has ended that was waited for.
fn cause_of_waited(status: WaitStatus) -> ExitCause {
    const DUMPED: i32 = 0x80;
    let core_dumped = status.as_raw() & DUMPED != 0;
    exit_cause(
        status.terminating_signal(),
        core_dumped,
        status.exit_status(),
    )
}

fn exit_cause(signal: Option<i32>, core_dumped: bool, code: Option<i32>) -> ExitCause {
    match (signal, code) {
        (Some(signal), _) => ExitCause::Signal {
            signal,
            core_dumped,
        },
        (None, Some(code)) => ExitCause::Code(code),
        (None, None) => ExitCause::Unknown,
    }
}

/// Who has printed something.
#[derive(Clone, Copy)]
struct Printed {
    function: &'static str,
    worker_pid: u32,
}

/// Whether answers wait for what was printed before them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Until it is written, or the stream takes nothing any more.
    Output,
    AtOnce,
}

/// Passes on lines of one worker.
struct Passing<'a> {
    pool: Pool<'a>,
    printed: Printed,
    greeted: &'a mut bool,
    tail: &'a mut Tail,
    queued: &'a mut [Option<Queued>; 2],
}

impl Passing<'_> {
    fn line(&mut self, stream: Stream, of: &Of, line: &[u8]) {
        match stream {
            // What a test harness prints first ends with a mark.
            Stream::Stdout if !*self.greeted => {
                *self.greeted = line.ends_with(launch::MARK);
                return;
            }
            Stream::Stdout => {}
            Stream::Stderr => self.tail.push(line),
        }
        if let Some(queued) = self.printed.pass_on(self.pool, stream, of, line) {
            self.queued[queued.place()] = Some(queued);
        }
    }
}

impl Printed {
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

    fn has_room(self, pool: Pool<'_>, stream: Stream) -> bool {
        pool.engine.config().output == OutputMode::None || has_room(stream, pool.inbox().bell())
    }

    /// Passes a line on, which ends with a newline or is unfinished.
    fn pass_on(self, pool: Pool<'_>, stream: Stream, of: &Of, line: &[u8]) -> Option<Queued> {
        let queued = match pool.engine.config().output {
            OutputMode::Prefixed => {
                let name = short_name(self.function);
                let mut prefixed = match of.index {
                    Some(index) => format!("{name}[{index}]: ").into_bytes(),
                    None => format!("{name}: ").into_bytes(),
                };
                prefixed.extend_from_slice(line);
                // What comes next has a prefix as well.
                if !line.ends_with(b"\n") {
                    prefixed.push(b'\n');
                }
                self.write(stream, of, &prefixed)
            }
            OutputMode::Raw => self.write(stream, of, line),
            OutputMode::None => None,
        };
        if pool.engine.publisher().is_observed() {
            pool.engine.publisher().publish(&Event::Output {
                function: self.function,
                call: of.call,
                worker_pid: Some(self.worker_pid),
                stream,
                line: String::from_utf8_lossy(line).trim_end().to_owned(),
            });
        }
        queued
    }
}
