//! Memory limits of workers.

use std::time::{Duration, Instant};

use super::{Action, Phase, Scheduler, Timer, WorkerKey};
use crate::api::failure::{ExitCause, Startup};
use crate::job::parts::Parts;

/// The interval at which the memory of a busy worker is measured.
const INTERVAL: Duration = Duration::from_millis(20);

impl<P: Parts> Scheduler<P> {
    /// Takes in a measurement: the memory of a worker and all processes that it started, in bytes.
    /// Kills the worker if that exceeds its limit.
    pub(crate) fn handle_memory(&mut self, now: Instant, key: WorkerKey, bytes: u64) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.peak = worker.peak.max(bytes);
        let function = worker.function;
        let Some(limit) = self.functions[function.0].policy.memory else {
            return;
        };
        if bytes <= limit {
            return self.arm_measure(now, key);
        }
        let worker = &self.workers[key];
        match worker.phase {
            Phase::Ready | Phase::Retiring => self.kill(key, Phase::OutOfMemory),
            Phase::Starting => {
                let peak = worker.peak;
                let cause = ExitCause::OutOfMemory { limit, peak };
                self.fail_start(key, Startup::Exited(cause));
            }
            Phase::Killed | Phase::Broken(_) | Phase::OutOfMemory | Phase::FailedStart(_) => {}
        }
    }

    /// Kills a worker as if it had exceeded its memory limit, for a test.
    pub(crate) fn kill_out_of_memory(&mut self, key: WorkerKey) {
        if let Some(worker) = self.worker(key)
            && worker.phase == Phase::Ready
        {
            self.kill(key, Phase::OutOfMemory);
        }
    }

    /// Arms the next memory measurement of a worker, if it has a limit and is starting or busy.
    pub(super) fn arm_measure(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        let limited = self.functions[worker.function.0].policy.memory.is_some();
        let busy = worker.phase == Phase::Starting || !worker.outstanding.is_empty();
        if limited && busy && !worker.measure_timer {
            self.workers[key].measure_timer = true;
            self.arm(now + INTERVAL, Timer::Measure(key));
        }
    }

    pub(super) fn measure(&mut self, key: WorkerKey) {
        if let Some(worker) = self.worker_mut(key) {
            worker.measure_timer = false;
            self.actions.push_back(Action::Measure { worker: key });
        }
    }
}

impl super::Worker {
    /// Returns the cause of a worker's end: the operating system's, unless the scheduler killed it
    /// for its memory.
    pub(super) fn cause(&self, cause: ExitCause, limit: Option<u64>) -> ExitCause {
        if self.phase == Phase::OutOfMemory {
            let peak = self.peak;
            let limit = limit.unwrap_or(peak);
            return ExitCause::OutOfMemory { limit, peak };
        }
        cause
    }
}
