//! Ending what runs: by a timeout, a deadline, or because nobody wants it any more.
//!
//! Without a grace the worker is killed at once. With one, the function is first asked through
//! its token, then the process through a signal, and killed when the grace is over. Of several
//! async functions in one worker one alone is stopped, where it yields; only if it does not, the
//! worker is killed.

use std::time::{Duration, Instant};

use super::{
    Action, AttemptEnd, CallKey, Executing, Failure, Phase, Scheduler, State, Timer, WorkerKey,
};
use crate::context::AttemptOutcome;
use crate::error::{Limit, TimedOut};
use crate::parcel::Parts;
use crate::worker::Retry;

/// How long an async function may take to yield, once it is to be aborted.
const YIELD: Duration = Duration::from_millis(50);

/// The way to the end of something that runs.
#[derive(Debug)]
pub(super) struct Stop {
    /// When it is aborted, or its process asked to end.
    press: Instant,
    pressed: bool,
    /// When its worker is killed.
    kill: Instant,
    /// Whether its process has been sent a signal.
    pub(super) terminated: bool,
    /// The timeout that is the reason; the call is told once the attempt has ended.
    pub(super) expired: Option<Expired>,
}

/// A timeout that was reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    timeout: Duration,
    started: Instant,
}

impl<P: Parts> Scheduler<P> {
    /// What the worker is executing.
    pub(crate) fn probed(&mut self, now: Instant, key: WorkerKey, executing: &[Executing]) {
        for one in executing {
            self.isolate(key, one.ticket);
        }
        let Some(worker) = self.worker(key) else {
            return;
        };
        if worker.phase != Phase::Ready {
            return;
        }
        let policy = &self.functions[worker.function.0].policy;
        let executes = |ticket| executing.iter().any(|one| one.ticket == ticket);
        // A batch is not stopped for one of its inputs as long as others are wanted.
        let shared = !policy.separable
            && worker
                .outstanding
                .iter()
                .any(|one| one.call.is_some() && executes(one.ticket));
        let mut next: Option<Instant> = None;
        let mut ends = Vec::new();
        for inflight in worker.outstanding.iter().filter(|one| one.stop.is_none()) {
            let since = executing
                .iter()
                .find(|executing| executing.ticket == inflight.ticket)
                // The time comes from the worker: it cannot be before the call was sent.
                .map(|executing| executing.since.clamp(inflight.sent, now));
            let Some(call) = inflight.call else {
                if since.is_some() && !shared {
                    ends.push((inflight.ticket, None));
                }
                continue;
            };
            let Some(timeout) = self.call(call).and_then(|call| call.terms.policy.timeout) else {
                continue;
            };
            let at = match since {
                Some(started) if now.saturating_duration_since(started) >= timeout => {
                    ends.push((inflight.ticket, Some(Expired { timeout, started })));
                    continue;
                }
                Some(started) => started.checked_add(timeout),
                None => now.checked_add(timeout),
            };
            next = match (next, at) {
                (Some(next), Some(at)) => Some(next.min(at)),
                (next, at) => next.or(at),
            };
        }
        if let Some(at) = next {
            self.arm_probe(key, at);
        }
        let worker = self.worker_mut(key).expect("it was there");
        if ends.is_empty() {
            if std::mem::replace(&mut worker.halting, false) {
                let function = worker.function;
                self.dispatch(now, function);
            }
            return;
        }
        // Until everything else is taken back it may go on to the next input at any moment, and
        // that one must not be hit. Only what is still executing after that is stopped.
        if !worker.halting {
            worker.halting = true;
            self.recall(key);
            self.actions.push_back(Action::Probe { worker: key });
            return;
        }
        for (ticket, expired) in ends {
            self.stop(now, key, ticket, expired);
        }
    }

    /// Begins to end what a worker is executing.
    fn stop(&mut self, now: Instant, key: WorkerKey, ticket: u64, expired: Option<Expired>) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        let policy = &self.functions[worker.function.0].policy;
        let (grace, alone) = (policy.grace, !policy.separable);
        let (press, kill) = if alone {
            (now + grace / 2, now + grace)
        } else {
            (now + grace, now + grace + YIELD)
        };
        let Some(inflight) = self
            .worker_mut(key)
            .and_then(|worker| worker.outstanding.find(ticket))
        else {
            return;
        };
        inflight.stop = Some(Box::new(Stop {
            press,
            pressed: false,
            kill,
            terminated: false,
            expired,
        }));
        if !grace.is_zero() {
            self.actions.push_back(Action::Ask {
                worker: key,
                ticket,
            });
        }
        self.stop_further(now, key);
    }

    /// Presses harder where the time for that has come.
    pub(super) fn stop_further(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.phase != Phase::Ready {
            return;
        }
        let function = worker.function;
        let alone = !self.functions[function.0].policy.separable;
        let mut next: Option<Instant> = None;
        let mut actions = Vec::new();
        let worker = self.worker_mut(key).expect("it was there");
        for inflight in worker.outstanding.iter_mut() {
            let Some(stop) = &mut inflight.stop else {
                continue;
            };
            if stop.kill <= now {
                return self.kill_stopped(now, key);
            }
            if stop.press <= now && !stop.pressed {
                stop.pressed = true;
                stop.terminated = alone;
                actions.push(if alone {
                    Action::Terminate { worker: key }
                } else {
                    Action::Abort {
                        worker: key,
                        ticket: inflight.ticket,
                    }
                });
            }
            let at = if stop.pressed { stop.kill } else { stop.press };
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.actions.extend(actions);
        if let Some(at) = next {
            self.arm(at, Timer::Stop(key));
        }
    }

    /// Kills a worker that did not stop. What it had to do beside that goes back unblamed.
    fn kill_stopped(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let (function, pid) = (worker.function, worker.pid);
        let expired: Vec<_> = worker
            .outstanding
            .iter_mut()
            .filter_map(|inflight| {
                let expired = inflight.stop.as_ref()?.expired?;
                Some((inflight.call.take()?, expired))
            })
            .collect();
        self.kill(key, Phase::Killed);
        for (call, expired) in expired {
            let state = &mut self.functions[function.0];
            state.completed(now, 1);
            state.took(expired.timeout, 1);
            self.expired(now, call, expired, pid, None);
        }
        self.dispatch(now, function);
    }

    /// An attempt that was stopped by its timeout has ended.
    pub(super) fn expired(
        &mut self,
        now: Instant,
        call: CallKey,
        expired: Expired,
        pid: Option<u32>,
        stderr_tail: Option<std::sync::Arc<str>>,
    ) {
        let Expired { timeout, started } = expired;
        self.attempt_failed(
            now,
            call,
            Failure::TimedOut(TimedOut::new(Limit::Attempt, timeout)),
            Retry::Default,
            AttemptEnd {
                outcome: AttemptOutcome::TimedOut(timeout),
                start: started,
                duration: now.saturating_duration_since(started),
                pid,
                stderr_tail,
            },
        );
    }

    /// Ends a call from outside: by cancellation or deadline.
    pub(super) fn withdraw(
        &mut self,
        now: Instant,
        key: CallKey,
        failure: Failure,
        outcome: AttemptOutcome,
    ) {
        let Some(call) = self.call(key) else { return };
        match call.state {
            State::Queued => {
                let function = call.function;
                self.leave_queue(key);
                self.outdate_queued(function);
            }
            State::Delayed => {}
            State::Sent { worker, ticket } => {
                // Of those that were sent together only the first ones may be executing.
                let at_once = self.functions[call.function.0].policy.at_once;
                let at_once = u32::try_from(at_once).unwrap_or(u32::MAX);
                for behind in (1..=at_once.min(call.payload.count())).rev() {
                    let Some(other) = self.part(worker, ticket + u64::from(behind)) else {
                        continue;
                    };
                    if behind == at_once {
                        self.detach(other);
                    } else {
                        self.leave_worker(now, other, outcome.clone());
                    }
                    self.resolve(other, Err(failure.clone()), None);
                }
                self.leave_worker(now, key, outcome);
                self.recall(worker);
            }
        }
        self.resolve(key, Err(failure), None);
    }

    /// Ends the attempt of a call that was sent, as far as the call is concerned.
    fn leave_worker(&mut self, now: Instant, key: CallKey, outcome: AttemptOutcome) {
        if let Some((start, pid)) = self.detach(key) {
            self.call_mut(key).expect("it exists").record(AttemptEnd {
                outcome,
                start,
                duration: now.saturating_duration_since(start),
                pid,
                stderr_tail: None,
            });
        }
    }

    /// Makes a call that was sent unknown to its worker, so that a late answer is ignored.
    fn detach(&mut self, key: CallKey) -> Option<(Instant, Option<u32>)> {
        let State::Sent { worker, ticket } = self.call(key)?.state else {
            return None;
        };
        let worker = self.worker_mut(worker)?;
        let inflight = worker.outstanding.find(ticket)?;
        inflight.call = None;
        Some((inflight.sent, worker.pid))
    }
}
