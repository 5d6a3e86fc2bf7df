//! A worker process, from the first line of `main` to its last answer.

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
use crate::spans::forwarder;
use crate::sys::lineage::{self, is_gone};
use crate::sys::{self, signals};
use crate::wire::ControlBlock;
use crate::wire::handshake::Orders;
use crate::wire::launch;
use crate::wire::lease::Leased;
use nested::Upstream;
use serve::Server;
use watchdog::Watchdog;

pub use entry::enter_test;
pub(crate) use entry::init;

/// Exit code of a worker that receives a message from its parent that it cannot interpret.
const STRANGER: i32 = 70;

/// Exit code of a worker that lacks a resource it cannot serve without.
const UNFIT: i32 = 71;

/// Stack size of the serving thread if it is not the main thread: the usual size of a main thread's stack.
const STACK: usize = 8 * 1024 * 1024;

/// The worker's end of the connection to its parent.
pub(crate) struct ParentLink {
    socket: Arc<OwnedFd>,
    /// Process id of the parent. 0 if the parent is in another pid namespace: then only the connection
    /// reveals that the parent has exited.
    parent: u32,
}

/// The first message of the parent, with what came along.
struct Received {
    orders: Orders,
    control: ControlBlock,
    nested: OwnedFd,
    /// The lease of the worker, if its parent is an agent.
    lease: Option<Leased>,
}

impl ParentLink {
    /// Returns whether the parent has sent a message or has closed the connection.
    fn has_orders(&self) -> bool {
        let mut files = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Does the work that does not depend on the orders, unless the orders have already arrived. Returns the
    /// watchdog if it was started.
    fn prepare(&self) -> io::Result<Option<Watchdog>> {
        if self.has_orders() {
            return Ok(None);
        }
        // Looks up all functions; the registry caches the result.
        registry::fingerprint();
        // The first read of the clock locates its implementation, which is cached as well.
        sys::monotonic_nanos();
        Watchdog::start(Arc::clone(&self.socket), self.parent).map(Some)
    }

    /// Receives the parent's first message, which says what to serve.
    fn receive_orders(&self) -> io::Result<Received> {
        let mut bytes = vec![0; Orders::ROOM];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // A standby may wait here for a long time, and the program's start-up code may have installed signal
        // handlers: retry on EINTR.
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
            RecvAncillaryMessage::ScmRights(mut files) => {
                let needed = files.next().zip(files.next());
                needed.map(|needed| (needed, files.next()))
            }
            _ => None,
        });
        // The kernel drops descriptors that exceed this process's limit.
        let ((control, nested), lease) = files.ok_or(Errno::MFILE)?;
        bytes.truncate(received.bytes);
        // A service's configuration may make the orders longer than the first read.
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
        let lease = match orders.is_leased {
            true => Some(Leased::map(lease.ok_or(Errno::MFILE)?)?),
            false => None,
        };
        Ok(Received {
            orders,
            control,
            nested,
            lease,
        })
    }
}

/// Serves calls until the parent closes the connection. Never returns.
pub(crate) fn serve(link: ParentLink) -> ! {
    // A panic must not unwind into the program, which might catch it and continue.
    let _leaves = Leaves;
    lineage::note_own(link.parent);
    signals::set_up_worker();
    sys::buffer_c_stdout_by_line();
    if is_gone(link.parent) {
        // Processes that this program started before it reached this line must end as well.
        end();
    }
    // The worker's process group is in the background of the terminal: a read from the terminal would stop
    // the worker with SIGTTIN and leave no trace of the cause.
    sys::terminal::leave();
    let watchdog = link.prepare().unwrap_or_else(|error| {
        refuse(format_args!(
            "there is no thread or descriptor for it: {error}"
        ))
    });
    let Received {
        orders,
        control,
        nested,
        lease,
    } = match link.receive_orders() {
        Ok(received) => received,
        // The parent has exited, or no longer needs this worker.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => end(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => exit(STRANGER),
        Err(error) => refuse(format_args!("it cannot take its orders: {error}")),
    };
    signals::end_hang_up_signal(&link.socket, link.parent);
    if let Some(lease) = lease
        && let Err(error) = watchdog::keep(lease, control.lease_end())
    {
        refuse(format_args!("there is no thread for it: {error}"));
    }
    let limit = usize::try_from(orders.limit).unwrap_or(usize::MAX);
    orders.run.join();
    Upstream::install(nested, orders.run, orders.worker, limit);
    let name = orders.function.clone();
    let run = || -> ! { Server::new(link, control, orders, watchdog).run() };
    // Serve on a thread of its own in two cases. Inside an async `main` this thread is in a runtime, where
    // async functions could not be driven. Under the test harness this thread is named after the test, and
    // panics of the function would be reported under that name.
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

/// Kills this worker and everything it has started: the parent has exited or cannot be reached, and nothing
/// may outlive it. The worker leads its own process group, so one signal kills the group and this process
/// with it.
///
/// A death signal from the kernel (`PR_SET_PDEATHSIG`) that ends the worker would arrive too early: before
/// the worker can kill its group. The one that a worker asks for only lets it continue.
fn end() -> ! {
    lineage::kill_own();
    let _ = rustix::process::kill_current_process_group(Signal::KILL);
    std::process::abort()
}

/// Exit code of a forked child whose function has panicked: the code of any Rust program that panics.
const PANICKED: i32 = 101;

/// Ends this process, which was started as a worker, and prints why it cannot be one. The parent reports the
/// last line of standard error.
pub(crate) fn refuse(problem: fmt::Arguments<'_>) -> ! {
    let _leaves = Leaves;
    let _ = writeln!(
        io::stderr(),
        "this process was started as a worker but cannot serve: {problem}"
    );
    sys::exit_now(UNFIT)
}

/// Ends the process if it is dropped during a panic.
struct Leaves;

impl Drop for Leaves {
    fn drop(&mut self) {
        sys::exit_now(UNFIT)
    }
}

/// Ends this process in order, so that the program's exit handlers run.
fn exit(code: i32) -> ! {
    forwarder::flush();
    flush_stdout();
    std::process::exit(code)
}

/// Flushes the standard output buffers of Rust and of the C library.
#[inline]
fn flush_stdout() {
    let _ = io::stdout().flush();
    sys::flush_c_stdout();
}
