//! The one thread that starts processes. It never ends, since what the kernel ties to a child's
//! parent it ties to the thread that started the child.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::cgroup::Cgroup;
use super::children;
use super::peer::{Inlet, Peer};
use super::process::{Process, connection};
use super::surroundings::Surroundings;
use crate::engine::Engine;
use crate::nested::{Downstream, Requests};
use crate::scheduler::WorkerKey;
use crate::transport::outgoing;
use crate::transport::{Board, Link, RingLink};
use crate::worker::Orders;

/// A worker that is to be started.
#[derive(Clone)]
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

/// How long nobody has to have asked for anything before a spare is started: it would take the cores
/// from the workers that are about to become ready.
const LULL: Duration = Duration::from_millis(5);

/// What the spawner is asked for.
enum Wish {
    Worker(Request),
    /// A spare for an engine, when nobody waits for a worker.
    Spare(Arc<Engine>),
}

/// Asks for a worker; the engine is told what became of it.
pub(crate) fn request_worker(request: Request) {
    wish(Wish::Worker(request));
}

/// Asks for a spare, after a worker has ended that has to be replaced.
pub(super) fn request_spare(engine: &Arc<Engine>) {
    let kept = engine.config().scaledown_window;
    engine.step(|core, _| core.spare.want(kept));
    wish(Wish::Spare(Arc::clone(engine)));
}

fn wish(wish: Wish) {
    static SPAWNER: OnceLock<Sender<Wish>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("retry-spawner".to_owned())
            .spawn(move || run(&receiver))
            .expect("a thread for the spawner");
        sender
    });
    spawner.send(wish).expect("the spawner never ends");
}

fn run(wishes: &Receiver<Wish>) {
    // Those that get a spare as soon as nobody waits for a worker.
    let mut spareless: Vec<Arc<Engine>> = Vec::new();
    loop {
        let wish = if spareless.is_empty() {
            wishes.recv().map_err(RecvTimeoutError::from)
        } else {
            wishes.recv_timeout(LULL)
        };
        let wish = match wish {
            Ok(wish) => wish,
            Err(RecvTimeoutError::Timeout) => {
                spareless.drain(..).for_each(|engine| start_spare(&engine));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let engine = match wish {
            Wish::Worker(request) => {
                fulfil(&request);
                request.engine
            }
            Wish::Spare(engine) => engine,
        };
        if !spareless.iter().any(|known| Arc::ptr_eq(known, &engine)) {
            spareless.push(engine);
        }
    }
}

/// Starts a spare, if one is wanted.
fn start_spare(engine: &Engine) {
    if !engine.step(|core, _| core.spare.begin()) {
        return;
    }
    // From before the start: what changes while it goes on may or may not have reached the process.
    let surroundings = Surroundings::now(engine.config());
    let process = children::check().and_then(|()| Process::start(engine.config()));
    let started = process.ok().map(|process| (process, surroundings));
    engine.step(|core, _| core.spare.started(engine.inbox(), started));
    // The I/O thread has one more time to wait for, or one thing less.
    engine.inbox().ring();
}

/// The spare, if there is one that a new process would have nothing over.
fn take_spare(engine: &Engine) -> Option<Process> {
    if !engine.step(|core, _| core.spare.is_waiting()) {
        return None;
    }
    let now = Surroundings::now(engine.config());
    engine.step(|core, _| core.spare.take(engine.inbox(), &now))
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
    let (nested, their_nested) = connection()?;
    let (board, board_file) = Board::create()?;
    let cgroup = request
        .memory
        .and_then(|limit| Cgroup::create(request.worker.id, limit))
        .map(Arc::new);
    let orders = Orders {
        worker: request.worker.id,
        limit: engine.max_message() as u64,
        function: request.function.to_owned(),
        config: request.config.as_deref().unwrap_or_default().to_vec(),
        fails: request.fails,
    };
    let order = |process: &Process| {
        // It waits for its orders: nothing of the user's runs before it is in its group.
        let admits = |cgroup: &Arc<Cgroup>| cgroup.admit(process.pid());
        let admitted = cgroup.clone().filter(admits);
        let sent = send_orders(&process.socket, &orders, &board_file, &their_nested);
        (admitted, sent)
    };
    // What is asked for again if the process dies before it knows of it.
    let mut again = None;
    let (process, cgroup) = 'hired: {
        if let Some(spare) = take_spare(engine) {
            if let (cgroup, Ok(())) = order(&spare)
                && !spare.has_ended()
            {
                again = Some(request.clone());
                break 'hired (spare, cgroup);
            }
            // It has just died, which is nobody's failure: it had nothing to do.
            spare.end();
        }
        let process = Process::start(engine.config())?;
        match order(&process) {
            (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                process.end();
                return Err(error);
            }
            // Or it has ended already: its exit status says more than that.
            (cgroup, _) => (process, cgroup),
        }
    };
    let connect = || {
        rustix::io::ioctl_fionbio(&process.socket, true)?;
        rustix::io::ioctl_fionbio(&nested, true)
    };
    if let Err(error) = connect() {
        process.end();
        return Err(error.into());
    }
    let Process {
        child,
        pidfd,
        socket,
    } = process;
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
        again,
    );
    let inlet = Arc::new(Inlet::new(socket, peer));
    let link = RingLink::new(pid, inlet, board, writer, cgroup, request.slots);
    Ok((pid, link))
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
