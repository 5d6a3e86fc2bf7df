//! The one thread that starts processes. It never ends, since what the kernel ties to a child's
//! parent it ties to the thread that started the child.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags};

use super::cgroup::Cgroup;
use super::children;
use super::peer::{Inlet, Peer};
use crate::config::Config;
use crate::engine::{Engine, depth};
use crate::entry;
use crate::nested::{Downstream, Requests};
use crate::scheduler::WorkerKey;
use crate::transport::outgoing;
use crate::transport::{Board, DEPTH_VARIABLE, Link, RingLink, WORKER_VARIABLE, kill_group};
use crate::worker::Orders;

/// A worker that is to be started.
pub(crate) struct Request {
    pub(crate) engine: Arc<Engine>,
    pub(crate) worker: WorkerKey,
    /// What it is to serve.
    pub(crate) function: &'static str,
    /// The configuration of a service.
    pub(crate) config: Option<Arc<[u8]>>,
    /// How many inputs it will execute at once.
    pub(crate) slots: usize,
    /// How many bytes of memory it may take.
    pub(crate) memory: Option<u64>,
    /// Whether a test wants its set-up to fail.
    pub(crate) fails: bool,
}

/// Asks for a worker; the engine is told what became of it.
pub(crate) fn request_worker(request: Request) {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<Request>();
        std::thread::Builder::new()
            .name("retry-spawner".to_owned())
            .spawn(move || {
                for request in receiver {
                    fulfil(&request);
                }
            })
            .expect("a thread for the spawner");
        sender
    });
    spawner.send(request).expect("the spawner never ends");
}

fn fulfil(request: &Request) {
    let engine = &request.engine;
    match spawn(engine, request) {
        Ok((pid, link)) => {
            let inlet = link.inlet();
            // First the link: the worker's first message may already need it.
            engine.step(|core, now| core.adopt(now, request.worker, pid, Box::new(link)));
            inlet
                .into_iter()
                .for_each(|inlet| engine.inbox().register(inlet));
        }
        Err(error) => engine.step(|core, now| core.abandon(now, request.worker, &error)),
    }
}

fn spawn(engine: &Engine, request: &Request) -> io::Result<(u32, RingLink)> {
    children::check()?;
    let (ours, theirs) = connection()?;
    let (nested, their_nested) = connection()?;
    let (board, board_file) = Board::create()?;
    let mut child = command(engine.config())?
        .env(WORKER_VARIABLE, std::process::id().to_string())
        .env(DEPTH_VARIABLE, (depth() + 1).to_string())
        // Handed over as standard input, which keeps the fast way of starting a process open.
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let orders = Orders {
        worker: request.worker.id,
        limit: engine.max_message() as u64,
        function: request.function.to_owned(),
        config: request.config.as_deref().unwrap_or_default().to_vec(),
        fails: request.fails,
    };
    // It waits for its orders: nothing of the user's runs before it is in its group.
    let cgroup = request
        .memory
        .and_then(|limit| Cgroup::create(request.worker.id, limit))
        .filter(|cgroup| cgroup.admit(child.id()))
        .map(Arc::new);
    let connect = || -> io::Result<OwnedFd> {
        match send_orders(&ours, &orders, &board_file, &their_nested) {
            // It has ended already: its exit status says more than that.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            sent => sent?,
        }
        rustix::io::ioctl_fionbio(&ours, true)?;
        rustix::io::ioctl_fionbio(&nested, true)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
    };
    match connect() {
        Ok(pidfd) => {
            let pid = child.id();
            let board = Arc::new(board);
            let (writer, reader) = board.parent_ends();
            let writable = engine.inbox().writable();
            let replies = Downstream::new(request.worker.id, Arc::new(nested), writable);
            let peer = Peer::new(
                request.worker,
                request.function,
                child,
                pidfd,
                reader,
                Arc::clone(&board),
                Requests::new(request.worker, replies),
                cgroup.clone(),
                engine.max_message(),
            );
            let inlet = Arc::new(Inlet::new(ours, peer));
            let link = RingLink::new(pid, inlet, board, writer, cgroup, request.slots);
            Ok((pid, link))
        }
        Err(error) => {
            kill_group(child.id());
            let _ = child.wait();
            Err(error)
        }
    }
}

/// The program that is running, also where its file has been replaced or deleted.
fn command(config: &Config) -> io::Result<Command> {
    let arguments = entry::worker_arguments()
        .ok_or_else(|| io::Error::other("this process may not start workers"))?;
    let this = "/proc/self/exe";
    let mut command = match &config.program {
        Some(program) => Command::new(program),
        None if std::fs::symlink_metadata(this).is_ok() => Command::new(this),
        None => Command::new(std::env::current_exe()?),
    };
    for (name, value) in &config.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = &config.directory {
        command.current_dir(directory);
    }
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(arguments);
    Ok(command)
}

fn connection() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

fn send_orders(
    socket: impl AsFd,
    orders: &Orders,
    board: &OwnedFd,
    nested: &OwnedFd,
) -> io::Result<()> {
    let bytes = orders.encode();
    let files = [board.as_fd(), nested.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = rustix::net::sendmsg(
        &socket,
        &[io::IoSlice::new(&bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    outgoing::send_all(&socket, &bytes[sent..], &[])?;
    Ok(())
}
