//! The end of a runtime: no further calls, then no further workers.

use std::time::{Duration, Instant};

use super::{CallKey, Failure, Phase, Scheduler, State, Timer};
use crate::context::{AttemptOutcome, CallId};
use crate::error::Cancelled;

impl<P> Scheduler<P> {
    /// Takes no further calls. Those that are there may end within the grace; then they are
    /// cancelled. Without `queued` those that do not run are cancelled at once.
    pub(crate) fn shut_down(&mut self, now: Instant, grace: Duration, queued: bool) {
        self.draining = true;
        if !queued {
            self.cancels_queued = true;
            self.cancel_where(now, |call| !matches!(call, State::Sent { .. }));
            // What was sent and does not run either comes back, and is cancelled then.
            let workers = self.functions.iter().flat_map(|one| &one.workers);
            for worker in workers.copied().collect::<Vec<_>>() {
                self.recall(worker);
            }
        }
        match now.checked_add(grace) {
            Some(at) if !grace.is_zero() => self.arm(at, Timer::ShutDown),
            Some(_) => self.abandon_all(now),
            None => {}
        }
    }

    /// Whether no call and no worker is left, and none will come.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining && self.calls.is_empty() && self.workers.is_empty()
    }

    /// How many calls are executing or about to, and how many are not.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let running = self
            .calls
            .iter()
            .filter(|(_, call)| matches!(call.state, State::Sent { .. }))
            .count();
        (running, self.calls.len() - running)
    }

    /// The calls that were given up by the shutdown, with their functions.
    pub(crate) fn abandoned(&self) -> &[(CallId, &'static str)] {
        &self.abandoned
    }

    pub(super) fn abandon_all(&mut self, now: Instant) {
        let names = self.calls.iter().filter(|(_, call)| call.parent.is_none());
        let names: Vec<_> = names
            .map(|(_, call)| (call.id, self.functions[call.function.0].policy.name))
            .collect();
        self.abandoned.extend(names);
        self.cancel_where(now, |_| true);
    }

    fn cancel_where(&mut self, now: Instant, cancelled: impl Fn(State) -> bool) {
        let keys: Vec<CallKey> = self
            .calls
            .iter()
            .filter(|(_, call)| cancelled(call.state))
            .map(|(index, call)| CallKey { index, id: call.id })
            .collect();
        for key in keys {
            let why = Failure::Cancelled(Cancelled::ByShutdown);
            self.withdraw(now, key, why, AttemptOutcome::Cancelled);
        }
    }

    /// Ends the workers once there is nothing more for them.
    pub(super) fn drain(&mut self, now: Instant) {
        if !self.draining || !self.calls.is_empty() {
            return;
        }
        let keys: Vec<_> = self
            .functions
            .iter()
            .flat_map(|function| function.workers.iter().copied())
            .collect();
        for key in keys {
            let Some(worker) = self.worker(key) else {
                continue;
            };
            match worker.phase {
                // One that is still executing what nobody wants is ended by that.
                Phase::Ready if worker.inflight.is_empty() => self.retire(now, key),
                Phase::Starting => self.kill(key, Phase::Killed),
                _ => {}
            }
        }
    }
}
