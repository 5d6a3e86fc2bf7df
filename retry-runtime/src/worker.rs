//! The child's side: from the first line of `main` to the last answer.

mod outbox;
mod panics;
mod watchdog;

use std::any::Any;
use std::cell::Cell;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::args::Arguments;
use crate::codec::{self, CodecError, Wire};
use crate::context::CallId;
use crate::registry::{self, NotFound, Registration};
use crate::sys;
use crate::transport::frame::{self, CALL_HEADER, CallHeader, Kind};
use crate::transport::{Board, MAGIC, WORKER_VARIABLE};

use outbox::Outbox;
use watchdog::Watchdog;

/// The code with which a worker exits that does not know its parent.
const STRANGER: i32 = 70;

/// The stack of a worker that does not serve on its main thread: as large as that one's.
const STACK: usize = 8 * 1024 * 1024;

/// How many bytes a worker reads at once.
const READ: usize = 256 * 1024;

/// A worker's end of the connection to its parent.
pub(crate) struct Link {
    socket: OwnedFd,
    parent: i32,
}

impl Link {
    /// The connection, if this process was started as a worker.
    ///
    /// The variable alone does not prove it: processes that a worker starts inherit it. Their
    /// standard input is not a socket that was made by the process of that pid.
    pub(crate) fn detect() -> Option<Self> {
        let parent: i32 = std::env::var(WORKER_VARIABLE).ok()?.parse().ok()?;
        let stdin = rustix::stdio::stdin();
        let peer = rustix::net::sockopt::socket_peercred(stdin).ok()?;
        if peer.pid.as_raw_nonzero().get() != parent {
            return None;
        }
        // The protocol never touches descriptors 0 to 2: user code owns those.
        let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3).ok()?;
        let null = std::fs::File::open("/dev/null").ok()?;
        rustix::stdio::dup2_stdin(&null).ok()?;
        Some(Self { socket, parent })
    }

    /// The parent's first message: what to serve.
    fn receive_orders(&self) -> io::Result<(Orders, Board)> {
        let mut bytes = vec![0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let board = control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut files) => files.next(),
                _ => None,
            })
            .ok_or(io::ErrorKind::InvalidData)?;
        let orders = Orders::decode(&bytes[..received.bytes]).ok_or(io::ErrorKind::InvalidData)?;
        Ok((orders, Board::map(&board)?))
    }
}

/// What a parent tells a worker first.
pub(crate) struct Orders {
    pub(crate) limit: u64,
    pub(crate) function: String,
}

impl Orders {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u64_le(self.limit);
        bytes.extend_from_slice(self.function.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let limit = rest.try_get_u64_le().ok()?;
        let function = String::from_utf8(rest.to_vec()).ok()?;
        Some(Self { limit, function })
    }
}

/// Serves calls until the parent ends the connection. Never returns.
pub(crate) fn serve(link: Link) -> ! {
    let parent_is_alive = rustix::process::getppid()
        .is_some_and(|parent| parent.as_raw_nonzero().get() == link.parent);
    if !parent_is_alive {
        exit(STRANGER);
    }
    let Ok((orders, board)) = link.receive_orders() else {
        exit(STRANGER);
    };
    let server = Server::new(link.socket, board, orders);
    if tokio::runtime::Handle::try_current().is_err() {
        server.run();
    }
    // The check stands inside an async `main`, where async functions could not be run.
    let thread = std::thread::Builder::new()
        .name("retry-worker".to_owned())
        .stack_size(STACK)
        .spawn(move || server.run());
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
    exit(STRANGER)
}

/// Ends this process without running what the program registered for its own end.
fn exit(code: i32) -> ! {
    let _ = io::stdout().flush();
    // `_exit` would need libc; nothing of the program's own runs at exit unless it asked for it.
    std::process::exit(code)
}

struct Server {
    socket: Arc<OwnedFd>,
    board: Arc<Board>,
    outbox: Arc<Outbox>,
    limit: usize,
    function: String,
    input: BytesMut,
}

impl Server {
    fn new(socket: OwnedFd, board: Board, orders: Orders) -> Self {
        let socket = Arc::new(socket);
        let board = Arc::new(board);
        Self {
            outbox: Arc::new(Outbox::new(Arc::clone(&socket), Arc::clone(&board))),
            socket,
            board,
            limit: usize::try_from(orders.limit).unwrap_or(usize::MAX),
            function: orders.function,
            input: BytesMut::new(),
        }
    }

    fn run(mut self) -> ! {
        let watchdog = Watchdog::start(Arc::clone(&self.socket), Arc::clone(&self.outbox));
        panics::install(Arc::clone(&self.board));
        self.outbox
            .answer(Kind::Hello, 0, 0, &registry::fingerprint().to_le_bytes());
        self.outbox.flush();
        let (registration, mut state) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(message) => {
                let _ = io::stdout().flush();
                self.outbox
                    .answer(Kind::SetUpFailed, 0, 0, message.as_bytes());
                self.outbox.flush();
                // The parent has the reason; this only ends the process.
                exit(1);
            }
        };
        let _ = io::stdout().flush();
        self.outbox.answer(Kind::Ready, 0, 0, &[]);
        self.outbox.flush();
        let mut scratch = Vec::new();
        while let Some((header, payload)) = self.next_call() {
            let started = sys::monotonic_nanos();
            if !self.board.claim(header.ticket, started) {
                continue;
            }
            let mut invocation = Invocation {
                input: payload,
                state: &mut *state,
                limit: self.limit,
                retry: true,
                answer: None,
                output: &mut scratch,
            };
            CURRENT.set(Some(Current {
                call: CallId(header.call),
                input_index: header.index,
                attempt: header.attempt,
            }));
            panics::forget();
            let run = registration.run;
            let kind = match catch_unwind(AssertUnwindSafe(|| run(&mut invocation))) {
                Ok(()) => invocation.answer.unwrap_or(Kind::NotEncodable),
                Err(payload) => {
                    let panic = panics::take(&*payload);
                    // The payload's own destructor may panic as well.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
                    scratch.clear();
                    let _ = codec::encode(&panic, &mut scratch, usize::MAX);
                    Kind::Panicked
                }
            };
            CURRENT.set(None);
            // What was printed before the result is to be out before the result is.
            let _ = io::stdout().flush();
            let duration = sys::monotonic_nanos().saturating_sub(started);
            self.outbox.answer(kind, header.ticket, duration, &scratch);
            if !self.input.is_empty() && self.outbox.needs_watching() {
                watchdog.ring();
            }
            scratch.clear();
            if scratch.capacity() > READ {
                scratch = Vec::new();
            }
        }
        self.outbox.flush();
        exit(0)
    }

    /// Finds the function and runs its set-up.
    fn prepare(&self) -> Result<(&'static Registration, Box<dyn Any>), String> {
        let registration = registry::find(&self.function).map_err(|error| match error {
            NotFound::Duplicate(places) => {
                format!("`{}` is registered twice, {places}", self.function)
            }
            NotFound::Missing(message) => message,
        })?;
        let state = match registration.set_up {
            None => Box::new(()) as Box<dyn Any>,
            Some(set_up) => match catch_unwind(set_up) {
                Ok(state) => state?,
                Err(payload) => return Err(format!("panicked: {}", panics::take(&*payload))),
            },
        };
        Ok((registration, state))
    }

    /// The next call, waiting for it; `None` when the parent has ended the connection.
    fn next_call(&mut self) -> Option<(CallHeader, Bytes)> {
        loop {
            if let Some(message) = CallHeader::take(&mut self.input) {
                return Some(message);
            }
            self.outbox.flush();
            let want = frame::wanted(&self.input, CALL_HEADER, READ, self.limit.max(READ));
            match sys::read_into(self.socket.as_fd(), &mut self.input, want) {
                Ok(0) => return None,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// What a running function can know about its own call.
///
/// Returned by [`current`](crate::current).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    call: CallId,
    input_index: Option<u64>,
    attempt: u32,
}

impl Current {
    /// The call's identity, the same in all its attempts.
    #[must_use]
    pub fn call_id(&self) -> CallId {
        self.call
    }

    /// The position of the input in its map; `None` for a single call.
    #[must_use]
    pub fn input_index(&self) -> Option<u64> {
        self.input_index
    }

    /// Which attempt this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// The call that is running on this thread of a worker; `None` anywhere else, such as in an
/// ordinary call.
///
/// ```
/// # use retry_runtime::function;
/// #[function(retries = 2)]
/// fn attempt() -> u32 {
///     retry_runtime::current().map_or(0, |call| call.attempt())
/// }
///
/// assert_eq!(attempt(), 0); // an ordinary call
/// ```
#[must_use]
pub fn current() -> Option<Current> {
    CURRENT.get()
}

/// One call as generated code sees it.
pub struct Invocation<'a> {
    input: Bytes,
    state: &'a mut dyn Any,
    limit: usize,
    retry: bool,
    answer: Option<Kind>,
    output: &'a mut Vec<u8>,
}

impl Invocation<'_> {
    /// The arguments, or `None` if they cannot be decoded, which is then the answer.
    pub fn arguments<A: Arguments>(&mut self) -> Option<A::Owned> {
        match A::decode(&self.input) {
            Ok(arguments) => {
                self.input = Bytes::new();
                Some(arguments)
            }
            Err(error) => {
                self.output.extend_from_slice(error.to_string().as_bytes());
                self.answer = Some(Kind::NotDecodable);
                None
            }
        }
    }

    /// What the function's `setup` made.
    ///
    /// # Panics
    ///
    /// If the function has no such state; generated code never asks then.
    pub fn state<S: Any>(&mut self) -> &mut S {
        self.state
            .downcast_mut()
            .expect("the set-up made a state of this type")
    }

    /// Asks the function's `retry_if` about its error.
    pub fn retry_if<T, E>(&mut self, result: &Result<T, E>, retry_if: fn(&E) -> bool) {
        if let Err(error) = result {
            self.retry = retry_if(error);
        }
    }

    /// Answers with a value.
    pub(crate) fn succeed<T: Wire>(&mut self, value: &T) {
        self.respond(Kind::Ok, |output, limit| {
            codec::encode(value, output, limit)
        });
    }

    /// Answers with an error.
    pub(crate) fn fail<E: Wire>(&mut self, error: &E) {
        let kind = if self.retry {
            Kind::Err
        } else {
            Kind::FinalErr
        };
        self.respond(kind, |output, limit| codec::encode(error, output, limit));
    }

    fn respond(
        &mut self,
        kind: Kind,
        encode: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), CodecError>,
    ) {
        self.answer = Some(match encode(self.output, self.limit) {
            Ok(()) => kind,
            Err(CodecError::TooLarge(_)) => {
                self.output.clear();
                Kind::TooLarge
            }
            Err(CodecError::Invalid(reason)) => {
                self.output.clear();
                self.output.extend_from_slice(reason.as_bytes());
                Kind::NotEncodable
            }
        });
    }
}

/// Runs the future of an async function to its end.
///
/// # Panics
///
/// If the operating system does not give what an async runtime needs.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("an async runtime can be started");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
