//! The spawner: the single thread that starts processes. It never ends, because whatever the kernel ties to a
//! child's parent it ties to the thread that has started the child.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::Pid;

use super::cgroup::Cgroup;
use super::connection::WorkerConnection;
use super::link::ProcessLink;
use super::nested::{Downstream, Requests};
use super::receive::{ReceiveSide, WorkerParts};
use super::spawn_environment::SpawnEnvironment;
use super::start::{Equipment, Process};
use super::sweep::Family;
use super::{OwnedPool, Pool, PoolShared};
use crate::config::Config;
use crate::local::backend::StartRequest;
use crate::local::core::Core;
use crate::sys::memory::Meter;
use crate::sys::{PerProcess, children};
use crate::wire::Lease;
use crate::wire::handshake::Orders;
use crate::wire::write_queue;

/// The time for which no request may arrive before a standby is started. A standby would take cores from
/// workers that are about to become ready.
const LULL: Duration = Duration::from_millis(5);

/// A request to the spawner.
enum SpawnRequest {
    Worker(Arc<PoolShared>, StartRequest),
    /// A standby for an engine, to be started when no worker is being waited for.
    Standby(OwnedPool),
}

/// Requests a worker. The engine is told the result.
///
/// # Errors
///
/// If there is no thread to start it.
pub(super) fn request_worker(shared: &Arc<PoolShared>, request: StartRequest) -> io::Result<()> {
    send(SpawnRequest::Worker(Arc::clone(shared), request))
}

/// Requests a standby, after a worker has ended that has to be replaced.
pub(super) fn request_standby(pool: &OwnedPool) {
    let engine = &pool.engine;
    // A standby would be one process more than the limit permits.
    if engine.config().max_processes.is_some() {
        return;
    }
    let kept = engine.config().scaledown_window;
    engine.step(|core, _| {
        let now = core.clock.running();
        pool.shared.state().standby.want(now, kept);
    });
    // A standby is optional, so ignore the error.
    let _ = send(SpawnRequest::Standby(pool.clone()));
}

fn send(request: SpawnRequest) -> io::Result<()> {
    sender()
        .and_then(|sender| sender.send(request).map_err(io::Error::other))
        .map_err(|error| io::Error::new(error.kind(), format!("no thread for it: {error}")))
}

/// Starts the thread before the first request, if possible. Otherwise that request starts it.
pub(super) fn prepare() {
    let _ = sender();
}

/// Returns the channel on which the thread receives requests.
fn sender() -> io::Result<Sender<SpawnRequest>> {
    static SENDER: PerProcess<Mutex<Option<Sender<SpawnRequest>>>> = PerProcess::new();
    let requests = SENDER.get_or_init(Mutex::default);
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(requests) = &*requests {
        return Ok(requests.clone());
    }
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("retry-spawner".to_owned())
        .spawn(move || {
            SPAWNER.get_or_init(rustix::thread::gettid);
            run(&receiver);
        })?;
    Ok(requests.insert(sender).clone())
}

/// The thread id of the spawner, once it runs.
static SPAWNER: PerProcess<Pid> = PerProcess::new();

fn run(requests: &Receiver<SpawnRequest>) {
    // Engines that get a standby as soon as no worker is being waited for.
    let mut needs_standby: Vec<OwnedPool> = Vec::new();
    loop {
        let request = if needs_standby.is_empty() {
            requests.recv().map_err(RecvTimeoutError::from)
        } else {
            requests.recv_timeout(LULL)
        };
        let request = match request {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => {
                needs_standby
                    .drain(..)
                    .for_each(|pool| start_standby(pool.get()));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let pool = match request {
            SpawnRequest::Worker(shared, request) => {
                fulfil(&shared, &request);
                OwnedPool {
                    engine: request.engine,
                    shared,
                }
            }
            SpawnRequest::Standby(pool) => pool,
        };
        let is_known = |known: &OwnedPool| Arc::ptr_eq(&known.engine, &pool.engine);
        if !needs_standby.iter().any(is_known) {
            needs_standby.push(pool);
        }
    }
}

/// Starts a standby, if one is wanted.
fn start_standby(pool: Pool<'_>) {
    let engine = pool.engine;
    let _start = pool.shared.starts.begin();
    let begins = engine.step(|core, _| {
        let now = core.clock.running();
        pool.state().standby.begin_start(now)
    });
    if !begins {
        return;
    }
    // Capture the environment before the start: a change during the start may or may not have reached the
    // process.
    let spawn_environment = spawn_environment(engine.config());
    let process = children::check().and_then(|()| Process::start(engine.config()));
    let started = process.ok().zip(spawn_environment);
    engine.step(|_, _| pool.state().standby.finish_start(pool.inbox(), started));
    // The I/O thread has a new time to wait for, or one process less.
    pool.inbox().ring();
}

/// Returns the spawn environment that a process would find if it were started now.
fn spawn_environment(config: &Config) -> Option<SpawnEnvironment> {
    Some(SpawnEnvironment::now(config, *SPAWNER.get()?))
}

/// Takes the standby process if its spawn environment still matches that of a new process.
fn take_standby(pool: Pool<'_>) -> Option<Process> {
    if !pool.state().standby.is_waiting() {
        return None;
    }
    let now = spawn_environment(pool.engine.config())?;
    pool.engine
        .step(|_, _| pool.state().standby.take(pool.inbox(), &now))
}

/// The maximum length of a service configuration that is sent without waiting, in bytes.
const MAX_SHORT_CONFIG: usize = 4096;

/// Makes a worker of the standby at once, if there is a suitable one and nothing about it requires waiting.
/// Otherwise returns the request, which must then go to the spawner.
pub(super) fn assign(
    pool: Pool<'_>,
    core: &mut Core,
    request: StartRequest,
) -> Option<StartRequest> {
    let engine = pool.engine;
    let config = engine.config();
    // These take time: they access files, of the kernel and others.
    let waits = request.memory.is_some() || config.directory.is_some() || config.program.is_some();
    let short = request.config.as_ref().map_or(0, |config| config.len()) <= MAX_SHORT_CONFIG;
    if waits || !short || !pool.state().standby.is_waiting() {
        return Some(request);
    }
    let assigned =
        spawn_environment(config).and_then(|now| pool.state().standby.take(pool.inbox(), &now));
    let Some(standby) = assigned else {
        return Some(request);
    };
    let limit = engine.max_message();
    let sent = rustix::io::ioctl_fionbio(&standby.socket, true)
        .map_err(io::Error::from)
        .and_then(|()| send_orders(&standby, &request, limit, false));
    // A standby that has ended since may have failed its set-up already: its messages tell.
    if sent.is_err() {
        pool.state().standby.discard(pool.inbox(), standby);
        return Some(request);
    }
    let (pid, link) = match connect(pool, &request, standby, limit, None, true) {
        Ok(connected) => connected,
        Err((standby, _)) => {
            pool.state().standby.discard(pool.inbox(), standby);
            return Some(request);
        }
    };
    adopt(pool, core, &request, pid, link);
    None
}

fn adopt(pool: Pool<'_>, core: &mut Core, request: &StartRequest, pid: u32, link: ProcessLink) {
    let connection = Arc::clone(link.connection());
    // Install the link first: the worker's first message may already need it.
    core.adopt(core.now(), request.worker, pid, Box::new(link));
    pool.inbox().register(connection);
}

fn fulfil(shared: &PoolShared, request: &StartRequest) {
    let engine = &*request.engine;
    let pool = Pool { engine, shared };
    let _start = shared.starts.begin();
    match spawn(pool, request) {
        Ok((pid, link)) => engine.step(|core, _| adopt(pool, core, request, pid, link)),
        Err(error) => engine.step(|core, now| core.abandon(now, request.worker, &error)),
    }
}

fn orders(limit: usize, request: &StartRequest, process: &Process) -> Vec<u8> {
    Orders {
        run: request.engine.run(),
        worker: request.worker.id,
        limit: limit as u64,
        function: request.function.to_owned(),
        config: request.config.as_deref().unwrap_or_default().to_vec(),
        fails: request.fails,
        transport: process.equipment.control.transport(),
        level: request.engine.recorded_level(),
        is_leased: request.engine.lease().is_some(),
    }
    .encode()
}

fn spawn(pool: Pool<'_>, request: &StartRequest) -> io::Result<(u32, ProcessLink)> {
    children::check()?;
    // Read the limit only once: both sides of a connection must use the same one.
    let engine = pool.engine;
    let limit = engine.max_message();
    let order = |process: &Process| {
        // The process still waits for its orders, so no user code runs before the process is in its group.
        let cgroup = request
            .memory
            .and_then(|limit| Cgroup::create(request.worker.id, limit))
            .filter(|cgroup| cgroup.admit(process.pid()))
            .map(Arc::new);
        (cgroup, send_orders(process, request, limit, true))
    };
    let (process, cgroup, was_standby) = 'assigned: {
        if let Some(standby) = take_standby(pool) {
            if let (cgroup, Ok(())) = order(&standby) {
                break 'assigned (standby, cgroup, true);
            }
            // The standby has just died. That is not a failed start: no work had been assigned to it.
            standby.end();
        }
        let process = Process::start(engine.config())?;
        match order(&process) {
            (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                process.end();
                return Err(error);
            }
            // A broken pipe means that the process has already ended. Its exit status says more than this
            // error.
            (cgroup, _) => (process, cgroup, false),
        }
    };
    connect(pool, request, process, limit, cgroup, was_standby).map_err(|(process, error)| {
        process.end();
        error
    })
}

/// Creates the parent's side of a process that has its orders.
fn connect(
    pool: Pool<'_>,
    request: &StartRequest,
    process: Process,
    limit: usize,
    cgroup: Option<Arc<Cgroup>>,
    was_standby: bool,
) -> Result<(u32, ProcessLink), (Process, io::Error)> {
    if let Err(error) = rustix::io::ioctl_fionbio(&process.socket, true) {
        return Err((process, error.into()));
    }
    let Process {
        child,
        pidfd,
        socket,
        equipment: Equipment {
            control, nested, ..
        },
        token,
    } = process;
    let pid = child.id();
    let family = Arc::new(Family {
        engine: Arc::downgrade(&request.engine),
        function: request.function,
        worker: pid,
        token,
        cgroup: cgroup.clone(),
        ends: AtomicBool::new(false),
    });
    let control = Arc::new(control);
    let socket = Arc::new(socket);
    let (writer, reader) = control.parent_ends(&socket);
    let writable = pool.inbox().writable();
    let engine_of_replies = Arc::downgrade(&request.engine);
    let replies = Downstream::new(
        engine_of_replies,
        request.worker.id,
        Arc::new(nested),
        writable,
    );
    let meter = Meter::new(request.memory.unwrap_or(u64::MAX), replies.given());
    let parts = WorkerParts {
        child,
        pidfd,
        reader,
        control: Arc::clone(&control),
        requests: Requests::new(
            request.worker,
            request.function,
            pid,
            replies,
            limit,
            cgroup.clone(),
        ),
        family: Arc::clone(&family),
    };
    let received = Arc::clone(&pool.shared.received);
    let receiver = ReceiveSide::new(request, parts, received, limit, was_standby);
    let writable = pool.inbox().writable();
    let connection = Arc::new(WorkerConnection::new(socket, receiver, writable));
    let link = ProcessLink::new(
        family,
        connection,
        control,
        writer,
        cgroup,
        meter,
        request.slots,
    );
    Ok((pid, link))
}

/// Sends a process its orders and the descriptors that go with them. Unless `waits` is set, it is an error if
/// there is no room for all of them.
fn send_orders(
    process: &Process,
    request: &StartRequest,
    limit: usize,
    waits: bool,
) -> io::Result<()> {
    let orders = orders(limit, request, process);
    let Equipment {
        control_file,
        their_nested,
        ..
    } = &process.equipment;
    let mut files = vec![control_file.as_fd(), their_nested.as_fd()];
    files.extend(request.engine.lease().map(Lease::file));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = rustix::net::sendmsg(
        &process.socket,
        &[io::IoSlice::new(&orders)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    if sent < orders.len() && !waits {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    write_queue::send_all(&process.socket, &orders[sent..], &[], None)?;
    Ok(())
}
