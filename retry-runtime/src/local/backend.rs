//! The trait of backends, which start workers and receive their reports. Workers are processes, or threads of
//! this process.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::LocalEngine;
use super::core::Core;
use crate::function::service_config::ServiceConfig;
use crate::scheduler::WorkerKey;
use crate::shared::StagingPool;
use crate::wait::spin::Spin;
use crate::wait::{AnswerSource, Waiter};

/// A request to start a worker.
#[derive(Clone)]
pub(crate) struct StartRequest {
    pub(crate) engine: Arc<LocalEngine>,
    pub(crate) worker: WorkerKey,
    /// The name of the function or service that the worker serves.
    pub(crate) function: &'static str,
    /// The configuration of a service.
    pub(crate) config: Option<ServiceConfig>,
    /// The number of inputs that the worker executes at once.
    pub(crate) slots: usize,
    /// The memory limit in bytes, if there is one.
    pub(crate) memory: Option<u64>,
    /// `true` if a test makes the set-up fail.
    pub(crate) fails: bool,
}

/// Starts workers, takes in their messages, and runs the timers of an engine.
pub(crate) trait Backend: Send + Sync {
    /// Starts the thread that runs the timers and receives the messages of workers. It ends when
    /// the engine is shut down and drained.
    ///
    /// # Errors
    ///
    /// Fails if the operating system has no thread or descriptor left for it.
    fn start(&self, engine: &Arc<LocalEngine>) -> io::Result<()>;

    /// Starts a worker. Called under the engine's lock. The backend tells the engine later whether
    /// the worker exists or could not be started.
    fn start_worker(&self, core: &mut Core, request: StartRequest);

    /// Returns whether this process may start workers.
    fn may_start_workers(&self) -> bool;

    /// Returns the memory in which large arguments are staged, if the workers can read them there.
    fn staging(&self) -> Option<&Arc<StagingPool>> {
        None
    }

    /// Wakes the thread so that it checks when the next timer is due, and whether it is still
    /// needed.
    fn wake(&self);

    /// Releases what is kept for future workers. Called under the engine's lock.
    fn close(&self);

    /// Returns whether nothing is kept for future workers and nothing is left of those that have
    /// ended. Called under the engine's lock.
    fn is_closed(&self) -> bool;

    /// Keeps further workers from being started until [`resume`](Self::resume), and waits until the engine
    /// knows those that are being started. Not called under the engine's lock, which they need.
    fn hold_starts(&self) {}

    /// Suspends what is kept for future workers. Called under the engine's lock.
    fn suspend(&self) {}

    /// Lets that continue, and workers be started again. Called under the engine's lock.
    fn resume(&self) {}

    /// Returns the worker of the engine that the current thread is, and the ticket that it executes.
    fn current(&self, _: &LocalEngine) -> Option<(WorkerKey, u64)> {
        None
    }

    /// Polls the sources for answers until `enough` returns `true` or the patience of `spin` is
    /// over.
    fn poll_answers(
        &self,
        engine: &LocalEngine,
        sources: &[Arc<dyn AnswerSource>],
        spin: &mut Spin,
        enough: &mut dyn FnMut() -> bool,
    );

    /// Polls for the answers of one worker while `spin` has patience, then parks the thread there
    /// until it is unparked, `until` has come or the worker has ended. Returns whether the worker
    /// has ended.
    fn park_at(
        &self,
        engine: &LocalEngine,
        source: &Arc<dyn AnswerSource>,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) -> bool;

    /// Lets another thread poll a source that this thread had announced to poll.
    fn hand_over(&self, source: Arc<dyn AnswerSource>);
}
