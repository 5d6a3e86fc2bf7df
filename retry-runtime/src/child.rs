//! The child's side: from the first line of `main` to the last answer.

mod batch;
mod call_reader;
mod concurrent;
mod entry;
mod faults;
pub(crate) mod nested;
mod origin;
mod printed;
mod result_writer;
mod serve;
mod stopwatch;
mod watchdog;

use std::fmt;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Signal;

use crate::function::registry;
use crate::sys;
use crate::sys::lineage::{self, is_gone};
use crate::wire::ControlBlock;
use crate::wire::handshake::Orders;
use crate::wire::launch;
use nested::Upstream;
use serve::Server;
use watchdog::Watchdog;

pub use entry::{enter_test, init};

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
    fn receive_orders(&self) -> io::Result<(Orders, ControlBlock, OwnedFd)> {
        let mut bytes = vec![0; Orders::ROOM];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // A standby may wait for long, and its start-up code may handle signals.
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
        let (control, nested) = files.ok_or(Errno::MFILE)?;
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
        let control = ControlBlock::map(&control, orders.transport)?;
        Ok((orders, control, nested))
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
        end();
    }
    // Its process group is in the background there: a read would stop it, and nothing would tell why.
    sys::leave_terminal();
    let watchdog = link.prepare().unwrap_or_else(|error| {
        refuse(format_args!(
            "there is no thread or descriptor for it: {error}"
        ))
    });
    let (orders, control, nested) = match link.receive_orders() {
        Ok(received) => received,
        // The parent is gone, or does not need a worker any more.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => end(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => exit(STRANGER),
        Err(error) => refuse(format_args!("it cannot take its orders: {error}")),
    };
    let limit = usize::try_from(orders.limit).unwrap_or(usize::MAX);
    Upstream::install(nested, orders.worker, limit);
    let name = orders.function.clone();
    let run = || -> ! { Server::new(link, control, orders, watchdog).run() };
    // The check may stand inside an async `main`, where async functions could not be run; or in a test, by
    // which the thread is named that runs it, so that panics of the function would carry that name.
    if tokio::runtime::Handle::try_current().is_err() && !launch::marks_output() {
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

/// The parent is gone, or cannot be reached: nothing that this worker has started may outlive it.
/// The worker leads its own process group, so the signal takes the whole of it, and this process
/// with it.
///
/// A death signal from the kernel (`PR_SET_PDEATHSIG`) would come too early: it would end the
/// worker before it can take its group along.
fn end() -> ! {
    lineage::kill_own();
    let _ = rustix::process::kill_current_process_group(Signal::KILL);
    std::process::abort()
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
