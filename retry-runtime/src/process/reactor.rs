//! The I/O thread, which waits for all events: messages, output, the end of processes, and timers.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::OwnedPool;
use super::connection::WorkerConnection;
use super::exit::Reaped;
use super::poll::poll_rung;
use super::pressure;
use super::receive::DYING;
use super::receive::ReceiveSide;
use super::sources::{NESTED, PROCESS, SOCKET, SOURCES, STDERR, STDOUT, Writable};
use super::spawner::{self, request_standby, request_worker};
use super::streams::patience_ends;
use crate::codec::buffers::RETENTION;
use crate::local::core::Core;
use crate::scheduler::Inbound;
use crate::sys::{self, attributes};
use crate::wait::AnswerSource;
use crate::wait::spin::{Patience, Spin};
use crate::wire::bell::Heard;

/// The thread's inbox: hands new workers to the I/O thread and wakes it.
pub(crate) struct Inbox {
    epoll: Arc<OwnedFd>,
    bell: Arc<OwnedFd>,
    new: Mutex<Vec<Arc<WorkerConnection>>>,
    /// Connections that other threads have polled and that have more to say.
    left: Mutex<Vec<Arc<WorkerConnection>>>,
    /// Workers whose answers are held back until the output that was printed before them is written.
    held: Mutex<Vec<u64>>,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?),
            bell: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            new: Mutex::default(),
            left: Mutex::default(),
            held: Mutex::default(),
        })
    }

    /// Returns the registration of sockets that wait for room.
    pub(super) fn writable(&self) -> Writable {
        Writable(Arc::clone(&self.epoll))
    }

    pub(crate) fn register(&self, connection: Arc<WorkerConnection>) {
        self.new
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        self.ring();
    }

    /// Makes the I/O thread look after a worker.
    pub(crate) fn hand_over(&self, connection: Arc<WorkerConnection>) {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        self.ring();
    }

    /// Makes the I/O thread look after a worker once the worker's output is written.
    pub(super) fn hold(&self, worker: u64) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(worker);
        self.ring();
    }

    /// Makes the I/O thread notice the end of the standby.
    pub(super) fn watch_standby(&self, pidfd: &OwnedFd) -> rustix::io::Result<()> {
        let data = EventData::new_u64(STANDBY);
        epoll::add(&*self.epoll, pidfd, data, EventFlags::IN)
    }

    pub(super) fn forget_standby(&self, pidfd: &OwnedFd) {
        let _ = epoll::delete(&*self.epoll, pidfd);
    }

    /// Returns the epoll instance that the I/O thread waits with.
    pub(super) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    /// Wakes the I/O thread.
    pub(crate) fn ring(&self) {
        ring(&self.bell);
    }

    /// Returns the eventfd that wakes the I/O thread.
    pub(super) fn bell(&self) -> &Arc<OwnedFd> {
        &self.bell
    }
}

/// Wakes the I/O thread that waits for this bell.
pub(super) fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// Starts the I/O thread. It ends when the engine is shut down and drained.
pub(super) fn start(pool: OwnedPool) -> io::Result<()> {
    // The spawner thread comes up while this one is being started.
    spawner::prepare();
    let inbox = &pool.shared.inbox;
    let epoll = Arc::clone(&inbox.epoll);
    let data = EventData::new_u64(BELL);
    epoll::add(&*epoll, inbox.bell(), data, EventFlags::IN)?;
    let mut reactor = Reactor {
        pool,
        epoll,
        connections: HashMap::new(),
        hot: Vec::new(),
        patience: Patience::new(),
        spin: None,
        timer: None,
        timer_is_stale: true,
        trim_at: None,
        pressure_at: Instant::now(),
        is_scarce: false,
        put_off_for: 0,
        put_off: false,
        closing: Vec::new(),
        held: Vec::new(),
        dying: Vec::new(),
        reaped: Vec::new(),
        needs_standby: false,
    };
    std::thread::Builder::new()
        .name("retry-io".to_owned())
        .spawn(move || {
            attributes::adopt();
            while !reactor.is_done() {
                reactor.turn();
            }
            reactor.pool.shared.close_memory();
        })?;
    Ok(())
}

/// The delay before workers that have ended are cleaned up: about as long as it takes to replace one.
const PUT_OFF: Duration = Duration::from_millis(1);

/// Worker numbers start at 1, so no event of a worker carries one of these values.
const BELL: u64 = 0;
const STANDBY: u64 = 1;

/// The maximum number of events handled in one turn.
const EVENTS: usize = 64;

struct Reactor {
    pool: OwnedPool,
    epoll: Arc<OwnedFd>,
    connections: HashMap<u64, Arc<WorkerConnection>>,
    /// Connections with recent activity: more is likely to follow.
    hot: Vec<Arc<WorkerConnection>>,
    patience: Patience,
    /// The last spin for more answers.
    spin: Option<Spin>,
    /// The next timer, as far as this thread knows.
    timer: Option<Instant>,
    /// Set when `timer` may have changed, so that it must be looked up again.
    timer_is_stale: bool,
    /// The time at which free memory may have to be dropped.
    trim_at: Option<Instant>,
    /// The time from which on the pressure on memory is to be looked up again.
    pressure_at: Instant,
    /// True while memory is scarce, so that none is kept.
    is_scarce: bool,
    /// The number of events handled since that look-up was first put off.
    put_off_for: usize,
    /// True while output is left unread until the bell rings.
    put_off: bool,
    /// Workers that have closed their connection, each with the running time by which it must be dead.
    closing: Vec<(Instant, u64)>,
    /// Workers whose answers are held back.
    held: Vec<u64>,
    /// Workers that have ended and whose last output is still to be written.
    dying: Vec<Arc<WorkerConnection>>,
    /// Workers that have been reaped, and when. Their resources are released a little later.
    reaped: Vec<(Instant, Arc<WorkerConnection>)>,
    /// Set when one of these workers had to be replaced.
    needs_standby: bool,
}

impl Reactor {
    fn is_done(&self) -> bool {
        self.connections.is_empty()
            && self.dying.is_empty()
            && self.reaped.is_empty()
            && self.pool.engine.is_drained()
    }

    /// Waits for events and handles them.
    fn turn(&mut self) {
        let mut events = [Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; EVENTS];
        let ready = self.wait_for_work(&mut events);
        let ended = self.dispatch(&events[..ready]);
        // The last process that the engine waits for may be among them.
        self.timer_is_stale |= !ended.is_empty();
        // Handle ends last: what a process has sent before it ended counts.
        for worker in ended {
            self.handle_end(worker);
        }
        self.look_at_held();
        self.enforce_limits(ready);
    }

    /// Returns when the I/O thread has to wake up by itself.
    fn next_wake_up(&self) -> Option<Instant> {
        let timer = if self.timer_is_stale {
            Some(Instant::now())
        } else {
            self.timer
        };
        let closing = self.closing.first();
        let closing = closing.map(|(at, _)| self.pool.engine.real(*at));
        let others = [closing, self.clear_up_at(), self.held_until(), self.trim_at];
        timer.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Waits for events, of which there may be none: first by polling for the answers that tend to follow
    /// each other, then asleep.
    fn wait_for_work(&mut self, events: &mut [Event]) -> usize {
        let until = self.next_wake_up();
        if !self.hot.is_empty() {
            let mut ready = 0;
            let mut hot = std::mem::take(&mut self.hot);
            let mut spin = self.patience.spin();
            let left = poll_rung(self.pool.get(), &hot, &mut spin, &mut || {
                let now = Instant::now();
                ready = self.wait(events, Some(now));
                ready > 0 || until.is_some_and(|until| until <= now)
            });
            hot.clear();
            hot.extend(left);
            self.hot = hot;
            self.spin = Some(spin);
            if ready > 0 {
                return ready;
            }
        }
        // Do not block if a worker has more to say.
        let until = if self.hot.is_empty() {
            until
        } else {
            Some(Instant::now())
        };
        self.wait(events, until)
    }

    /// Handles events. Returns the workers that have ended.
    fn dispatch(&mut self, events: &[Event]) -> Vec<u64> {
        let mut ended = Vec::new();
        for event in events {
            let (flags, data) = (event.flags, event.data.u64());
            if data == BELL {
                self.handle_bell();
                continue;
            }
            if data == STANDBY {
                let pool = self.pool.get();
                pool.engine.step(|core, _| {
                    let now = core.clock.running();
                    pool.state().standby.tend(now, pool.inbox())
                });
                // It may have been the last process that the engine waits for.
                self.timer_is_stale = true;
                continue;
            }
            let worker = data / SOURCES;
            let Some(connection) = self.connections.get(&worker).map(Arc::clone) else {
                continue;
            };
            match data % SOURCES {
                SOCKET => self.handle_socket(connection),
                NESTED => self.handle_nested(&connection, flags),
                PROCESS => ended.push(worker),
                _ => self.handle_output(&connection),
            }
        }
        ended
    }

    fn handle_bell(&mut self) {
        let _ = rustix::io::read(self.pool.shared.inbox.bell(), &mut [0u8; 8]);
        self.timer_is_stale = true;
        self.trim(Instant::now());
        self.take_new_connections();
        self.take_left_connections();
        self.take_held_connections();
        self.take_up_output();
    }

    /// Stops watching a worker that has ended, and takes in what it has left as soon as there is room for its
    /// output.
    fn handle_end(&mut self, worker: u64) {
        let Some(connection) = self.connections.remove(&worker) else {
            return;
        };
        let mut receiver = connection.receiver();
        // Closing the descriptors would also remove them from epoll, except for one that a grandchild still
        // holds.
        let _ = epoll::delete(&*self.epoll, &receiver.pidfd);
        let _ = epoll::delete(&*self.epoll, &connection.socket);
        let _ = epoll::delete(&*self.epoll, receiver.requests.socket());
        self.remove_output(&receiver);
        // A process that takes this worker's place may have its number.
        self.closing.retain(|(_, closing)| *closing != worker);
        let all = receiver.look_at_end(self.pool.get(), &connection.socket);
        drop(receiver);
        if all {
            self.reap(connection);
        } else {
            self.dying.push(connection);
        }
    }

    /// Drops free memory that was not used for a while, or all of it if memory is scarce. Finds out when to look again,
    /// which is also needed to keep some again.
    fn trim(&mut self, now: Instant) {
        let shared = &self.pool.shared;
        if self.trim_at.is_some() && self.pressure_at <= now {
            self.pressure_at = now + RETENTION;
            self.is_scarce = pressure::is_high();
            shared.pause_memory(self.is_scarce);
        }
        let again = self.is_scarce.then_some(self.pressure_at);
        self.trim_at = shared.trim_memory(now).or(again);
    }

    /// Does what is due after a turn with `ready` events.
    fn enforce_limits(&mut self, ready: usize) {
        let now = Instant::now();
        if self.trim_at.is_some_and(|at| at <= now) {
            self.trim(now);
        }
        // A thread that arms an earlier timer rings the bell, so most turns need not look it up. While there
        // are more events than fit into one turn, they come first, but each source only once: sources that
        // are always ready would otherwise keep all limits from being enforced.
        let is_due = self.timer_is_stale || self.timer.is_some_and(|at| at <= now);
        let sources = self.connections.len() * SOURCES as usize;
        if is_due && (ready < EVENTS || self.put_off_for > sources) {
            self.put_off_for = 0;
            self.tick(now);
        } else if is_due {
            self.put_off_for += ready;
        }
        if self.clear_up_at().is_some_and(|until| until <= now) {
            self.clear_up();
        }
        if !self.closing.is_empty() {
            self.kill_overdue();
        }
    }

    /// Kills the workers that have closed their connection and live on.
    fn kill_overdue(&mut self) {
        let now = self.pool.engine.running_time();
        self.closing.retain(|(at, worker)| {
            let overdue = *at <= now;
            if overdue && let Some(connection) = self.connections.get(worker) {
                connection
                    .receiver()
                    .kill_overdue(self.pool.get(), &connection.socket);
            }
            !overdue
        });
    }

    /// Does what is due by now. Everything that had arrived by then is taken in before any limit is enforced,
    /// however late this thread is: what arrived in time counts.
    fn tick(&mut self, now: Instant) {
        self.timer_is_stale = false;
        let pool = self.pool.get();
        let engine = pool.engine;
        let enforces = engine.step(|core, _| {
            let now = core.clock.at(now);
            core.scheduler.tick(now, Inbound::Undrained)
        });
        if enforces {
            // This includes answers for which no bell was rung because another thread is about to poll for
            // them.
            for connection in self.connections.values().chain(&self.dying) {
                connection.receiver().look_at_once(pool, &connection.socket);
            }
            engine.step(|core, _| {
                let now = core.clock.at(now);
                core.scheduler.tick(now, Inbound::Drained)
            });
        }
        self.timer = engine.step(|core, _| {
            let now = core.clock.running();
            let standby = pool.state().standby.tend(now, pool.inbox());
            let standby = standby.map(|until| core.clock.real(until));
            core.arm().into_iter().chain(standby).min()
        });
    }

    /// Takes in the last of what a worker has left.
    fn reap(&mut self, connection: Arc<WorkerConnection>) {
        let reaped = connection.receiver().reap(&self.pool, &connection.socket);
        match reaped {
            Reaped::Retired => {}
            Reaped::Died => self.needs_standby = true,
            Reaped::Again(request) => {
                if let Err(error) = request_worker(&self.pool.shared, request) {
                    let key = connection.key;
                    let abandon = |core: &mut Core, now| core.abandon(now, key, &error);
                    self.pool.engine.step(abandon);
                }
            }
        }
        // A thread that sleeps there must find another place.
        connection.unpark();
        self.reaped.push((Instant::now(), connection));
        // It may have been the last one.
        self.timer_is_stale = true;
    }

    fn take_held_connections(&mut self) {
        let inbox = &self.pool.shared.inbox;
        let held = std::mem::take(&mut *inbox.held.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in held {
            if !self.held.contains(&worker) {
                self.held.push(worker);
            }
        }
    }

    /// Returns when to look at held workers again if their output is not written before.
    fn held_until(&self) -> Option<Instant> {
        if self.held.is_empty() && self.dying.is_empty() {
            return None;
        }
        patience_ends()
    }

    /// Continues with workers whose output has been written.
    fn look_at_held(&mut self) {
        let owned = self.pool.clone();
        let pool = owned.get();
        for connection in self
            .dying
            .extract_if(.., |connection| !connection.receiver().check_hold(pool))
            .collect::<Vec<_>>()
        {
            self.reap(connection);
        }
        for worker in std::mem::take(&mut self.held) {
            let Some(connection) = self.connections.get(&worker).map(Arc::clone) else {
                continue;
            };
            let mut receiver = connection.receiver();
            if receiver.check_hold(pool) {
                self.held.push(worker);
                continue;
            }
            receiver.look(pool, &connection.socket);
            drop(receiver);
            self.mark_hot(connection);
            self.take_up_output();
        }
    }

    /// Returns when to [clear up](Self::clear_up) after the workers that have been reaped.
    fn clear_up_at(&self) -> Option<Instant> {
        self.reaped.first().map(|(at, _)| *at + PUT_OFF)
    }

    /// Does the work that was put off so that a worker that has died is replaced without waiting for it.
    fn clear_up(&mut self) {
        self.reaped.clear();
        // These may have been the last ones.
        self.timer_is_stale = true;
        if std::mem::take(&mut self.needs_standby) {
            request_standby(&self.pool);
        }
    }

    /// Waits for events until the given time. An interruption counts as a turn without events.
    fn wait(&self, events: &mut [Event], until: Option<Instant>) -> usize {
        let timeout =
            until.map(|until| sys::timespec(until.saturating_duration_since(Instant::now())));
        sys::wait_for_events(&self.epoll, events, timeout.as_ref()).unwrap_or_default()
    }

    fn take_new_connections(&mut self) {
        let inbox = &self.pool.shared.inbox;
        let new = std::mem::take(&mut *inbox.new.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in new {
            let base = connection.key.id * SOURCES;
            let readable = EventFlags::IN;
            self.watch(&connection.socket, base + SOCKET, readable);
            if connection.is_full() {
                // The stream was full before the socket was watched.
                self.pool.engine.step(|_, _| connection.watch_room());
            }
            let receiver = connection.receiver();
            self.watch(receiver.requests.socket(), base + NESTED, readable);
            if let Some(pipe) = receiver.stdout.pipe() {
                self.watch(pipe, base + STDOUT, readable);
            }
            if let Some(pipe) = receiver.stderr.pipe() {
                self.watch(pipe, base + STDERR, readable);
            }
            self.watch(&receiver.pidfd, base + PROCESS, readable);
            drop(receiver);
            self.connections
                .insert(connection.key.id, Arc::clone(&connection));
            // The worker may have sent something before it was watched. A thread that sleeps there has
            // checked already.
            if !connection.has_waiter() {
                self.mark_hot(connection);
            }
        }
    }

    fn take_left_connections(&mut self) {
        let inbox = &self.pool.shared.inbox;
        let left = std::mem::take(&mut *inbox.left.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in left {
            self.mark_hot(connection);
        }
    }

    fn watch(&self, file: impl AsFd, data: u64, flags: EventFlags) {
        // Fails only for lack of memory. Then the worker's start-up timeout, or its end, is noticed instead.
        let _ = epoll::add(&*self.epoll, file, EventData::new_u64(data), flags);
    }

    /// Handles a worker that has rung, has sent frames, has made room for them, or is gone.
    fn handle_socket(&mut self, connection: Arc<WorkerConnection>) {
        if let Some(spin) = self.spin.take() {
            self.patience.learn(&spin);
        }
        match connection.hear() {
            Heard::Frames if connection.receiver().is_done() => {
                // Frames that are not read any more would be reported again and again.
                let _ = epoll::delete(&*self.epoll, &connection.socket);
            }
            Heard::Ring | Heard::Frames | Heard::Nothing => {}
            Heard::End => {
                let _ = epoll::delete(&*self.epoll, &connection.socket);
                self.expect_end(&connection);
                // Look only once: what comes later is taken in when the worker is reaped, and polling until
                // then would keep the core from the kernel, which has to clean up after the process.
                connection
                    .receiver()
                    .look(self.pool.get(), &connection.socket);
                return;
            }
        }
        connection.send_on(self.pool.get());
        // The worker may have rung for room alone. A thread that sleeps there is woken for answers.
        if connection.has_waiter() {
            return;
        }
        self.mark_hot(connection);
    }

    fn mark_hot(&mut self, connection: Arc<WorkerConnection>) {
        if !self.hot.iter().any(|hot| Arc::ptr_eq(hot, &connection)) {
            self.hot.push(connection);
        }
    }

    /// Gives a worker that has closed a connection a while to end. It is killed then.
    fn expect_end(&mut self, connection: &WorkerConnection) {
        let until = self.pool.engine.running_time() + DYING;
        self.closing.push((until, connection.key.id));
    }

    fn handle_nested(&mut self, connection: &WorkerConnection, flags: EventFlags) {
        let mut receiver = connection.receiver();
        if flags.contains(EventFlags::OUT) {
            receiver.requests.replies.flush();
        }
        if flags.contains(EventFlags::IN) {
            receiver.receive_requests(self.pool.get());
        }
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) || receiver.requests.ended {
            // It would be reported again and again.
            let _ = epoll::delete(&*self.epoll, receiver.requests.socket());
            drop(receiver);
            self.expect_end(connection);
        }
    }

    fn handle_output(&mut self, connection: &WorkerConnection) {
        let mut receiver = connection.receiver();
        // If a pipe has ended, this closes it and removes it from epoll.
        receiver.print(self.pool.get(), &connection.socket);
        self.put_off |= receiver.stdout.put_off(&self.epoll) | receiver.stderr.put_off(&self.epoll);
    }

    /// Resumes reading output, for which there may be room again.
    fn take_up_output(&mut self) {
        if std::mem::take(&mut self.put_off) {
            for (worker, connection) in &self.connections {
                let base = worker * SOURCES;
                let mut receiver = connection.receiver();
                receiver.stdout.take_up(&self.epoll, base + STDOUT);
                receiver.stderr.take_up(&self.epoll, base + STDERR);
            }
        }
    }

    fn remove_output(&self, receiver: &ReceiveSide) {
        if let Some(pipe) = receiver.stdout.pipe() {
            let _ = epoll::delete(&*self.epoll, pipe);
        }
        if let Some(pipe) = receiver.stderr.pipe() {
            let _ = epoll::delete(&*self.epoll, pipe);
        }
    }
}
