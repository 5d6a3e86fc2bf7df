//! What starts workers and hears of them: processes, or threads of this process.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use super::core::Core;
use crate::scheduler::WorkerKey;
use crate::wait::spin::Spin;
use crate::wait::{AnswerSource, Waiter};

/// A worker that is to be started.
#[derive(Clone)]
pub(crate) struct StartRequest {
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

/// Starts workers, takes in what they say, and keeps the time for an engine.
pub(crate) trait Backend: Send + Sync {
    /// Starts the thread that keeps the time and hears of workers. It ends when the engine is shut down
    /// and drained.
    ///
    /// # Errors
    ///
    /// If the operating system has no thread or descriptor left for it.
    fn start(&self, engine: &Arc<Engine>) -> io::Result<()>;

    /// Starts a worker, under the engine's lock. The engine is told when there is one, or none.
    fn start_worker(&self, core: &mut Core, request: StartRequest);

    /// Returns whether this process may start workers.
    fn may_start_workers(&self) -> bool;

    /// Has the thread look again when the next timer is due, and whether it is needed any longer.
    fn wake(&self);

    /// Gives up what is kept for workers to come. Called under the engine's lock.
    fn close(&self);

    /// Returns whether nothing is kept for workers to come, and nothing is left of those that have ended.
    /// Called under the engine's lock.
    fn is_closed(&self) -> bool;

    /// Returns the worker that the current thread is, and the ticket that it executes.
    fn current(&self) -> Option<(WorkerKey, u64)> {
        None
    }

    /// Looks for answers until there are enough or the patience is over.
    fn poll_answers(
        &self,
        engine: &Engine,
        sources: &[Arc<dyn AnswerSource>],
        spin: &mut Spin,
        enough: &mut dyn FnMut() -> bool,
    );

    /// Looks for the answers of one worker as long as there is patience, then parks there: until the
    /// thread is woken, the time has come or the worker has ended. Returns whether it has ended.
    fn park_at(
        &self,
        engine: &Engine,
        source: &Arc<dyn AnswerSource>,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) -> bool;

    /// Has another thread look for the answers of a worker, which this thread was to look for.
    fn hand_over(&self, source: Arc<dyn AnswerSource>);
}
