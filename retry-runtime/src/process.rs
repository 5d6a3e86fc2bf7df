//! The backend whose workers are processes: starts, supervises and reaps them. Contains no policy.

mod cgroup;
mod connection;
mod executable;
mod exit;
mod link;
mod nested;
mod output;
mod poll;
mod pressure;
mod printing;
mod reactor;
mod receive;
mod sources;
mod spawn_environment;
mod spawner;
mod standby;
mod start;
mod starts;
mod streams;
mod sweep;

use std::any::Any;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::codec::buffers::BufferPool;
use crate::local::LocalEngine;
use crate::local::backend::{Backend, StartRequest};
use crate::local::core::Core;
use crate::shared::StagingPool;
use crate::wait::spin::Spin;
use crate::wait::{AnswerSource, Waiter};
use crate::wire::launch;
use connection::WorkerConnection;
use reactor::Inbox;
use standby::Standby;
use starts::Starts;

/// The worker processes of one engine.
pub(crate) struct Processes(Arc<PoolShared>);

/// The state that the threads working for one engine share.
struct PoolShared {
    inbox: Inbox,
    starts: Starts,
    /// The memory in which arguments are staged, unless none is to be kept.
    staging: Option<Arc<StagingPool>>,
    /// The memory in which large results arrive.
    received: Arc<BufferPool>,
    state: Mutex<PoolState>,
}

/// If both locks are held, this one is taken under the engine's lock.
#[derive(Default)]
struct PoolState {
    /// The standby process that the next worker may be made of.
    standby: Standby,
    /// The number of processes whose end has been reported to the scheduler, but that have not been waited
    /// for yet.
    unreaped: usize,
}

/// The processes of an engine, together with the engine.
#[derive(Clone, Copy)]
struct Pool<'a> {
    engine: &'a LocalEngine,
    shared: &'a PoolShared,
}

impl Pool<'_> {
    fn inbox(&self) -> &Inbox {
        &self.shared.inbox
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.shared.state()
    }
}

/// The owned form of [`Pool`], for a thread that keeps both.
#[derive(Clone)]
struct OwnedPool {
    engine: Arc<LocalEngine>,
    shared: Arc<PoolShared>,
}

impl OwnedPool {
    fn get(&self) -> Pool<'_> {
        Pool {
            engine: &self.engine,
            shared: &self.shared,
        }
    }
}

impl PoolShared {
    /// Drops the memory for large messages that was not used for a while. Returns when to look again, if that is needed
    /// before the next wake-up.
    fn trim_memory(&self, now: Instant) -> Option<Instant> {
        let staging = self.staging.as_ref();
        let staging = staging.and_then(|staging| staging.keeper().trim(now));
        staging
            .into_iter()
            .chain(self.received.keeper().trim(now))
            .min()
    }

    /// Sets whether no memory for large messages is kept for the time being, and what is free is dropped.
    fn pause_memory(&self, is_paused: bool) {
        if let Some(staging) = &self.staging {
            staging.keeper().pause(is_paused);
        }
        self.received.keeper().pause(is_paused);
    }

    /// Drops the free memory for large messages, and keeps none from now on.
    fn close_memory(&self) {
        if let Some(staging) = &self.staging {
            staging.keeper().close();
        }
        self.received.keeper().close();
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes {
    /// Prepares for the processes of an engine, which keeps up to `retained` bytes of memory for large arguments.
    ///
    /// # Errors
    ///
    /// If the operating system has no descriptor left.
    pub(crate) fn new(retained: usize) -> io::Result<Self> {
        let inbox = Inbox::new()?;
        let wake = || {
            let bell = Arc::clone(inbox.bell());
            move || reactor::ring(&bell)
        };
        let staging = (retained > 0).then(|| StagingPool::new(retained, wake()));
        let received = BufferPool::new(retained, wake());
        Ok(Self(Arc::new(PoolShared {
            inbox,
            starts: Starts::default(),
            staging,
            received,
            state: Mutex::default(),
        })))
    }

    fn pool<'a>(&'a self, engine: &'a LocalEngine) -> Pool<'a> {
        Pool {
            engine,
            shared: &self.0,
        }
    }
}

impl Backend for Processes {
    fn start(&self, engine: &Arc<LocalEngine>) -> io::Result<()> {
        reactor::start(OwnedPool {
            engine: Arc::clone(engine),
            shared: Arc::clone(&self.0),
        })
    }

    fn start_worker(&self, core: &mut Core, request: StartRequest) {
        let engine = Arc::clone(&request.engine);
        let worker = request.worker;
        if let Some(request) = spawner::assign(self.pool(&engine), core, request)
            && let Err(error) = spawner::request_worker(&self.0, request)
        {
            core.abandon(core.now(), worker, &error);
        }
    }

    fn may_start_workers(&self) -> bool {
        launch::worker_arguments().is_some()
    }

    fn staging(&self) -> Option<&Arc<StagingPool>> {
        self.0.staging.as_ref()
    }

    fn wake(&self) {
        self.0.inbox.ring();
    }

    fn close(&self) {
        self.0.state().standby.close();
    }

    fn is_closed(&self) -> bool {
        let state = self.0.state();
        state.standby.is_gone() && state.unreaped == 0
    }

    fn hold_starts(&self) {
        self.0.starts.hold();
    }

    fn suspend(&self) {
        self.0.state().standby.suspend();
    }

    fn resume(&self) {
        self.0.state().standby.resume();
        self.0.starts.release();
    }

    fn poll_answers(
        &self,
        engine: &LocalEngine,
        sources: &[Arc<dyn AnswerSource>],
        spin: &mut Spin,
        enough: &mut dyn FnMut() -> bool,
    ) {
        let connections: Vec<_> = sources.iter().filter_map(connection).collect();
        poll::poll_answers(self.pool(engine), &connections, spin, enough);
    }

    fn park_at(
        &self,
        engine: &LocalEngine,
        source: &Arc<dyn AnswerSource>,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) -> bool {
        connection(source).is_some_and(|connection| {
            poll::park(self.pool(engine), &connection, until, waiter, spin)
        })
    }

    fn hand_over(&self, source: Arc<dyn AnswerSource>) {
        if let Some(connection) = connection(&source) {
            self.0.inbox.hand_over(connection);
        }
    }
}

/// Returns the connection behind a source. A source from a worker of this backend is always one.
fn connection(source: &Arc<dyn AnswerSource>) -> Option<Arc<WorkerConnection>> {
    let source: Arc<dyn Any + Send + Sync> = Arc::clone(source) as _;
    source.downcast().ok()
}
