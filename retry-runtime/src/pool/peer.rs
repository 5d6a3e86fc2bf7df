//! The parent's view of one worker process: what it says, prints, and leaves behind.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use super::cgroup::Cgroup;
use super::output::{Output, Tail};
use super::streams::{forward, has_room};
use crate::codec;
use crate::config::OutputMode;
use crate::context::short_name;
use crate::engine::{Core, Engine};
use crate::entry;
use crate::error::{ExitCause, Lost, Panic, Rejected, Startup};
use crate::events::{Event, Stream};
use crate::nested::Requests;
use crate::registry;
use crate::scheduler::{Answer, FunctionKey, Remains, Reply, WorkerKey};
use crate::sys;
use crate::transport::frame::{self, ANSWER_HEADER, AnswerHeader, Kind};
use crate::transport::{Board, kill_group};
use crate::worker::Retry;

/// How many bytes are read at once.
const READ: usize = 256 * 1024;

/// How many bytes are read at once of a message that says it is that large.
const READ_LARGE: usize = 4 * 1024 * 1024;

/// How long a worker may live after it has closed its connection.
const DYING: Duration = Duration::from_secs(1);

/// The receiving side of the connection to a worker, with its process.
pub(crate) struct Peer {
    pub(super) key: WorkerKey,
    function: &'static str,
    child: Child,
    pub(super) pidfd: OwnedFd,
    pub(super) socket: Arc<OwnedFd>,
    board: Arc<Board>,
    pub(super) requests: Requests,
    /// What limits its memory, where the kernel does.
    cgroup: Option<Arc<Cgroup>>,
    limit: usize,
    input: BytesMut,
    pub(super) stdout: Output<ChildStdout>,
    pub(super) stderr: Output<ChildStderr>,
    tail: Tail,
    /// What it prints from now on is the program's.
    greeted: bool,
    /// It has sent what makes no sense; nothing more is read.
    broken: bool,
    /// When it closed its connection.
    pub(super) closed: Option<Instant>,
}

/// What reading found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Open,
    Closed,
}

impl Peer {
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a worker, each once"
    )]
    pub(super) fn new(
        key: WorkerKey,
        function: &'static str,
        mut child: Child,
        pidfd: OwnedFd,
        socket: Arc<OwnedFd>,
        board: Arc<Board>,
        requests: Requests,
        cgroup: Option<Arc<Cgroup>>,
        limit: usize,
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
            socket,
            board,
            requests,
            cgroup,
            limit,
            input: BytesMut::new(),
            stdout: Output::new(stdout),
            stderr: Output::new(stderr),
            tail: Tail::default(),
            greeted: !entry::marks_output(),
            broken: false,
            closed: None,
        }
    }

    /// Takes in what the worker has sent. What it printed before is passed on first.
    pub(super) fn receive(&mut self, engine: &Engine) -> Connection {
        let mut connection = Connection::Open;
        if !self.broken {
            let want = frame::wanted(&self.input, ANSWER_HEADER, READ, READ_LARGE);
            match sys::read_into(&*self.socket, &mut self.input, want) {
                Ok(0) => connection = Connection::Closed,
                Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(_) => connection = Connection::Closed,
            }
        }
        self.print(engine, false);
        // What a function has called before it answered comes before its answer.
        if self.board.requests() != self.requests.taken {
            self.receive_requests(engine);
        }
        engine.step(|core, now| self.take_in(core, now));
        connection
    }

    /// Takes in what the worker's functions call.
    pub(super) fn receive_requests(&mut self, engine: &Engine) {
        while !self.broken {
            match self.requests.receive(engine) {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => {
                    self.broken = true;
                    engine.step(|core, _| core.scheduler.broken(self.key, reason.into()));
                }
            }
        }
    }

    /// Passes on what the worker has printed: whole lines, or everything if this is the end. While
    /// too much waits for a reader, the rest is left in the worker's pipe.
    pub(super) fn print(&mut self, engine: &Engine, end: bool) {
        let Self {
            stdout,
            stderr,
            tail,
            greeted,
            function,
            child,
            key,
            board,
            ..
        } = self;
        let mode = engine.config().output;
        let room = |stream: Stream| {
            end || mode == OutputMode::None || has_room(stream, engine.inbox().bell())
        };
        let observed = engine.publisher().is_observed();
        let mut executing = None;
        let mut pass_on = |stream: Stream, line: &[u8]| {
            // Looked up once, and only if there is a line at all.
            let (call, index) = *executing.get_or_insert_with(|| {
                let claimed = board.claimed();
                engine.step(|core, _| {
                    let executing = core.scheduler.executing(*key, claimed);
                    executing.map_or((None, None), |(call, job)| (Some(call), job.index))
                })
            });
            match mode {
                OutputMode::Prefixed => {
                    let name = short_name(function);
                    let mut prefixed = match index {
                        Some(index) => format!("{name}[{index}]: ").into_bytes(),
                        None => format!("{name}: ").into_bytes(),
                    };
                    prefixed.extend_from_slice(line);
                    forward(stream, &prefixed);
                }
                OutputMode::Raw => forward(stream, line),
                OutputMode::None => {}
            }
            if observed {
                engine.publisher().publish(&Event::Output {
                    function,
                    call,
                    worker_pid: Some(child.id()),
                    stream,
                    line: String::from_utf8_lossy(line).trim_end().to_owned(),
                });
            }
        };
        let mut from_stdout = |line: &[u8]| {
            // What a test harness prints first ends with a mark.
            if *greeted {
                pass_on(Stream::Stdout, line);
            } else if line.ends_with(entry::MARK) {
                *greeted = true;
            }
        };
        stdout.drain(|| room(Stream::Stdout), &mut from_stdout);
        if end {
            stdout.finish(&mut from_stdout);
        }
        let mut from_stderr = |line: &[u8]| {
            tail.push(line);
            pass_on(Stream::Stderr, line);
        };
        stderr.drain(|| room(Stream::Stderr), &mut from_stderr);
        if end {
            stderr.finish(&mut from_stderr);
        }
    }

    /// Hands all whole messages to the scheduler.
    fn take_in(&mut self, core: &mut Core, now: Instant) {
        let large = self.input.len() > READ;
        let mut function: Option<FunctionKey> = None;
        while !self.broken {
            let taken = match AnswerHeader::take(&mut self.input, self.limit) {
                Ok(None) => break,
                Ok(Some((header, payload))) => self.message(core, now, &header, payload),
                Err(reason) => Err(reason),
            };
            match taken {
                Ok(touched) => function = touched.or(function),
                Err(reason) => {
                    self.broken = true;
                    core.scheduler.broken(self.key, reason.into());
                }
            }
        }
        // The room for a large message is given back with the message.
        if large && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if let Some(function) = function {
            core.scheduler.dispatch(now, function);
        }
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
            Kind::Hello => {
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
            Kind::Ready => {
                core.scheduler.ready(now, self.key);
                return Ok(None);
            }
            Kind::SetUpFailed => {
                core.scheduler
                    .failed_to_start(self.key, Startup::SetUp(text(&payload)));
                return Ok(None);
            }
            _ => Reading { limit: self.limit }.answer(header, payload)?,
        };
        let failed = !matches!(answer, Answer::Ok(_));
        let reply = Reply {
            answer,
            duration: Duration::from_nanos(header.duration),
            used_up: header.used_up,
            stderr_tail: if failed { self.tail.text() } else { None },
        };
        match core.scheduler.finished(now, self.key, header.ticket, reply) {
            Ok(function) => Ok(function),
            // A late copy of an answer that was taken from the board is no breach, but such
            // copies only exist after the worker's end.
            Err(_) if self.closed.is_some() => Ok(None),
            Err(_) => Err(format!(
                "an answer to ticket {}, which it does not hold",
                header.ticket
            )),
        }
    }

    /// The connection was closed: the process is dying, or it will have to.
    pub(super) fn close(&mut self, now: Instant) -> Instant {
        *self.closed.get_or_insert(now) + DYING
    }

    /// The process lives on without its connection.
    pub(super) fn overdue(&self, core: &mut Core) {
        core.scheduler
            .broken(self.key, "it closed its connection".into());
        kill_group(self.child.id());
    }

    /// The process has ended: takes in all that it left, and reaps it.
    pub(super) fn bury(mut self, engine: &Engine) {
        while self.closed.is_none() && !self.broken {
            match sys::read_into(&*self.socket, &mut self.input, READ) {
                Ok(0) => break,
                Ok(_) => engine.step(|core, now| self.take_in(core, now)),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        // Answers that were kept and not sent. Some may have been sent as well.
        self.closed.get_or_insert_with(Instant::now);
        self.input = BytesMut::from(&self.board.unsent()[..]);
        engine.step(|core, now| {
            self.take_in(core, now);
            core.unlink(self.key);
        });
        // While the process is not waited for its number cannot belong to another group.
        kill_group(self.child.id());
        let mut cause = match self.child.wait() {
            Ok(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => ExitCause::Signal {
                    signal,
                    core_dumped: status.core_dumped(),
                },
                (None, Some(code)) => ExitCause::Code(code),
                (None, None) => ExitCause::Unknown,
            },
            Err(_) => ExitCause::Unknown,
        };
        // Claimed only if the kernel says that it was that.
        if matches!(cause, ExitCause::Signal { signal: 9, .. })
            && let Some((limit, peak)) = self.cgroup.take().and_then(|one| one.out_of_memory())
        {
            cause = ExitCause::OutOfMemory { limit, peak };
        }
        // A grandchild may hold the pipes open: what is there now is all that is waited for.
        self.print(engine, true);
        let panic = self
            .board
            .last_words()
            .filter(|_| matches!(cause, ExitCause::Signal { signal: 6, .. }))
            .and_then(|words| codec::decode_all::<Panic>(&words).ok());
        let remains = Remains {
            cause,
            claimed: self.board.claimed(),
            panic,
            stderr_tail: self.tail.text(),
        };
        engine.step(|core, now| core.scheduler.exited(now, self.key, remains));
    }
}

/// How answers are read.
pub(crate) struct Reading {
    pub(crate) limit: usize,
}

impl Reading {
    /// What a worker answered. An error is a breach of the protocol.
    pub(crate) fn answer(&self, header: &AnswerHeader, payload: Bytes) -> Result<Answer, String> {
        Ok(match header.kind {
            Kind::Ok => Answer::Ok(payload),
            Kind::Err | Kind::FinalErr => Answer::Err {
                error: payload,
                retry: if header.kind == Kind::Err {
                    Retry::Default
                } else {
                    Retry::No
                },
            },
            Kind::ErrAfter => {
                let mut error = payload;
                let Ok(nanos) = error.try_get_u64_le() else {
                    return Err("an error without its delay".to_owned());
                };
                Answer::Err {
                    error,
                    retry: Retry::After(Duration::from_nanos(nanos)),
                }
            }
            Kind::Aborted => Answer::Aborted,
            Kind::WrongLength => {
                let mut numbers = payload;
                let mut number = || numbers.try_get_u64_le().map_err(|error| error.to_string());
                let (inputs, results) = (number()?, number()?);
                Answer::Lost(Lost::WrongLength { inputs, results })
            }
            Kind::Panicked => match codec::decode_all::<Panic>(&payload) {
                Ok(panic) => Answer::Panicked(panic),
                Err(error) => return Err(format!("a panic that cannot be decoded: {error}")),
            },
            Kind::NotDecodable => Answer::Rejected(Rejected::NotDecodable {
                reason: text(&payload),
            }),
            Kind::NotEncodable => Answer::Lost(Lost::NotEncodable {
                reason: text(&payload),
            }),
            Kind::TooLarge => Answer::Lost(Lost::TooLarge { limit: self.limit }),
            Kind::Hello | Kind::Ready | Kind::SetUpFailed | Kind::OutOfMemory => {
                return Err("a message that is no answer".to_owned());
            }
        })
    }
}

fn text(payload: &[u8]) -> Box<str> {
    String::from_utf8_lossy(payload).into()
}
