//! The child's side: from the first line of `main` to the last answer.

mod batch;
mod calls;
mod concurrent;
mod current;
mod driver;
mod invocation;
mod origin;
mod outbox;
pub(crate) mod panics;
mod printed;
pub(crate) mod reporting;
mod serve;
mod stopwatch;
mod watchdog;

use std::fmt;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::entry;
use crate::lineage;
use crate::nested::Upstream;
use crate::registry;
use crate::sys::{self, Mark};
use crate::transport::{Board, MAGIC, Transport};

pub use batch::Batched;
pub(crate) use batch::run_batch;
pub(crate) use calls::Input;
pub(crate) use current::count_request;
pub use current::{CancelToken, Current, current};
pub use driver::{AtOnce, Made};
pub(crate) use driver::{Driver, Ends};
pub(crate) use invocation::Output;
pub use invocation::{Invocation, LocalFuture, Retry, State, block_on};
pub(crate) use origin::{Greeting, Origin};
pub(crate) use outbox::Outbox;
use serve::Server;
use watchdog::Watchdog;

/// The exit code of a worker that cannot make sense of what its parent says.
const STRANGER: i32 = 70;

/// The exit code of a worker that lacks something it cannot serve without.
const UNFIT: i32 = 71;

/// The stack of a worker that does not serve on its main thread: as large as that one's.
const STACK: usize = 8 * 1024 * 1024;

/// A worker's end of the connection to its parent.
pub(crate) struct Link {
    socket: Arc<OwnedFd>,
    /// It is 0 where the parent is in another pid namespace: then the connection alone tells of its end.
    parent: u32,
}

impl Link {
    /// Whether the parent has said something, or has gone.
    fn has_orders(&self) -> bool {
        let mut files = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Does what need not wait for the orders, if they are not there.
    fn prepare(&self) -> io::Result<Option<Watchdog>> {
        if self.has_orders() {
            return Ok(None);
        }
        // Looks all functions up, which is kept.
        registry::fingerprint();
        // So is where the clock is found.
        sys::monotonic_nanos();
        Watchdog::start(Arc::clone(&self.socket), self.parent).map(Some)
    }

    /// The parent's first message: what to serve.
    fn receive_orders(&self) -> io::Result<(Orders, Board, OwnedFd)> {
        let mut bytes = vec![0; HEAD + 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // A spare may wait for long, and its start-up code may handle signals.
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let files = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next().zip(files.next()),
            _ => None,
        });
        // The kernel drops those that there is no descriptor for.
        let (board, nested) = files.ok_or(Errno::MFILE)?;
        bytes.truncate(received.bytes);
        // The configuration of a service may be long.
        let length = Orders::length(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        while bytes.len() < length {
            let mut more = vec![0; length - bytes.len()];
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut more))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => bytes.extend_from_slice(&more[..read]),
            }
        }
        let orders = Orders::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let board = Board::map(&board, orders.transport)?;
        Ok((orders, board, nested))
    }
}

/// Returns whether the process that started this one has ended, also if nothing has waited for it yet.
/// It need not be the direct parent: a script may have been started instead that started this process.
pub(crate) fn is_gone(parent: u32) -> bool {
    let Some(parent) = i32::try_from(parent).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if rustix::process::getppid() == Some(parent) {
        return false;
    }
    // A process that has ended keeps its pid, and can be sent signals, until it is waited for. Only
    // its descriptor tells the difference.
    match rustix::process::pidfd_open(parent, PidfdFlags::empty()) {
        Ok(process) => {
            let mut files = [PollFd::new(&process, PollFlags::IN)];
            poll(&mut files, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
        }
        Err(Errno::SRCH) => true,
        // There is no descriptor left for it.
        Err(_) => rustix::process::test_kill_process(parent) == Err(Errno::SRCH),
    }
}

/// The part of the orders that has a fixed size.
const HEAD: usize = MAGIC.len() + 26;

/// What a parent tells a worker first.
pub(crate) struct Orders {
    /// The worker's number.
    pub(crate) worker: u64,
    pub(crate) limit: u64,
    /// What to serve.
    pub(crate) function: String,
    /// The configuration of a service.
    pub(crate) config: Vec<u8>,
    /// Whether a test wants the set-up to fail.
    pub(crate) fails: bool,
    /// Which way frames take.
    pub(crate) transport: Transport,
}

impl Orders {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u64_le(self.worker);
        bytes.put_u64_le(self.limit);
        bytes.put_u8(self.fails.into());
        bytes.put_u8((self.transport == Transport::Socket).into());
        bytes.put_u32_le(u32::try_from(self.function.len()).unwrap_or(u32::MAX));
        bytes.put_u32_le(u32::try_from(self.config.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(self.function.as_bytes());
        bytes.extend_from_slice(&self.config);
        bytes
    }

    /// How many bytes all of it takes, given its beginning.
    fn length(bytes: &[u8]) -> Option<usize> {
        let mut lengths = bytes.get(HEAD - 8..HEAD)?;
        let (function, config) = (lengths.get_u32_le(), lengths.get_u32_le());
        Some(HEAD + function as usize + config as usize)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&MAGIC)?;
        let worker = rest.try_get_u64_le().ok()?;
        let limit = rest.try_get_u64_le().ok()?;
        let fails = rest.try_get_u8().ok()? != 0;
        let transport = match rest.try_get_u8().ok()? {
            0 => Transport::Rings,
            _ => Transport::Socket,
        };
        let function = rest.try_get_u32_le().ok()?;
        rest.try_get_u32_le().ok()?;
        let (function, config) = rest.split_at_checked(function as usize)?;
        Some(Self {
            worker,
            limit,
            function: String::from_utf8(function.to_vec()).ok()?,
            config: config.to_vec(),
            fails,
            transport,
        })
    }
}

/// Serves calls until the parent ends the connection. Never returns.
pub(crate) fn serve(link: Link) -> ! {
    // A panic must not return to the program, which might catch it and go on.
    let _leaves = Leaves;
    lineage::note_own(link.parent);
    sys::buffer_c_stdout_by_line();
    if is_gone(link.parent) {
        // What this program has started before it came here is to end as well.
        watchdog::end();
    }
    // Its process group is in the background there: a read would stop it, and nothing would tell why.
    sys::leave_terminal();
    let watchdog = link.prepare().unwrap_or_else(|error| {
        refuse(format_args!(
            "there is no thread or descriptor for it: {error}"
        ))
    });
    let (orders, board, nested) = match link.receive_orders() {
        Ok(received) => received,
        // The parent is gone, or does not need a worker any more.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => watchdog::end(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => exit(STRANGER),
        Err(error) => refuse(format_args!("it cannot take its orders: {error}")),
    };
    let limit = usize::try_from(orders.limit).unwrap_or(usize::MAX);
    Upstream::install(nested, orders.worker, limit);
    let name = orders.function.clone();
    let run = || -> ! { Server::new(link, board, orders, watchdog).run() };
    // The check may stand inside an async `main`, where async functions could not be run; or in a test, by
    // which the thread is named that runs it, so that panics of the function would carry that name.
    if tokio::runtime::Handle::try_current().is_err() && !entry::marks_output() {
        run();
    }
    let thread = std::thread::Builder::new()
        .name(name)
        .stack_size(STACK)
        .spawn(run);
    match thread {
        Ok(thread) => {
            let _ = thread.join();
            exit(STRANGER)
        }
        Err(error) => refuse(format_args!("there is no thread for it: {error}")),
    }
}

/// Ends a process that is not the worker: a child that a function has forked and that has come back
/// from it. It must not touch the connection, and ends without writing what the worker has left in
/// its buffers.
#[inline]
fn leave_if_forked(worker: Mark, code: i32) {
    if !worker.is_current() {
        sys::exit_now(code);
    }
}

/// The exit code of a forked child whose function has panicked: that of a program that panics.
const PANICKED: i32 = 101;

/// Ends this process, which was started as a worker, and says why it cannot be one. The parent reports
/// the last line of standard error.
pub(crate) fn refuse(problem: fmt::Arguments<'_>) -> ! {
    let _leaves = Leaves;
    let _ = writeln!(
        io::stderr(),
        "this process was started as a worker but cannot serve: {problem}"
    );
    sys::exit_now(UNFIT)
}

/// Ends the process when it is dropped by a panic.
struct Leaves;

impl Drop for Leaves {
    fn drop(&mut self) {
        sys::exit_now(UNFIT)
    }
}

/// Ends this process in order: what the program has registered for its end runs.
fn exit(code: i32) -> ! {
    flush_stdout();
    std::process::exit(code)
}

/// Writes what is left in the buffers of standard output, that of Rust and that of the C library.
#[inline]
fn flush_stdout() {
    let _ = io::stdout().flush();
    sys::flush_c_stdout();
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::is_gone;

    #[test]
    fn a_parent_is_gone_before_anything_has_waited_for_it() {
        let mut process = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(!is_gone(process.id()));
        process.kill().unwrap();
        // The stream ends while the process does, a moment before the process can be waited for.
        let stdout = process.stdout.as_mut().unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        let pid = process.id();
        while !is_gone(pid) {
            std::thread::yield_now();
        }
        process.wait().unwrap();
        assert!(is_gone(pid));
    }
}
