//! Timers, and what happens when one is due.

use std::cmp::Reverse;
use std::time::Instant;

use super::messages::{Action, Inbound};
use super::stop::Withdrawn;
use super::workers::Phase;
use super::{FunctionKey, Scheduler, WorkerKey};
use crate::api::failure::{Limit, Startup, TimedOut};
use crate::job::outcome::CallKey;
use crate::job::parts::Parts;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Retry(CallKey),
    Deadline(CallKey),
    Probe(WorkerKey),
    Startup(WorkerKey),
    Start(FunctionKey),
    Place(FunctionKey),
    Idle(WorkerKey),
    Stop(WorkerKey),
    Measure(WorkerKey),
    TearDown(WorkerKey),
    ShutDown,
}

impl<P: Parts> Scheduler<P> {
    /// Returns the time at which [`tick`](Self::tick) is to be called next.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Handles all timers that are due. If `inbound` is `Undrained`, stops at the first timer that
    /// enforces a limit and returns `true`: the local engine must first take in everything that has
    /// arrived, since that may show that the limit was kept.
    pub(crate) fn tick(&mut self, now: Instant, inbound: Inbound) -> bool {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied()
            && at <= now
        {
            if inbound == Inbound::Undrained && self.is_limit(timer, now) {
                return true;
            }
            self.timers.pop();
            match timer {
                Timer::Retry(key) => {
                    if let Some(call) = self.call(key) {
                        let function = call.function;
                        self.enqueue_back(now, key);
                        self.dispatch(now, function);
                    }
                }
                Timer::Deadline(key) => {
                    // The deadline may have been postponed since the timer was armed.
                    let deadline = self.call(key).and_then(|call| call.deadline);
                    if deadline.is_some_and(|at| at <= now) {
                        self.withdraw(key, Withdrawn::Deadline);
                    }
                }
                Timer::Probe(key) => {
                    if let Some(worker) = self.worker_mut(key)
                        && worker.probe_at.take_if(|at| *at <= now).is_some()
                        && !worker.outstanding.is_empty()
                    {
                        self.actions.push_back(Action::Probe { worker: key });
                    }
                }
                Timer::Startup(key) => {
                    if let Some(worker) = self.worker(key) {
                        let limit = self.functions[worker.function.0].policy.startup_timeout;
                        let startup = Startup::TimedOut(TimedOut::new(Limit::Startup, limit));
                        self.fail_start(key, startup);
                    }
                }
                Timer::Start(function) if self.functions.contains(function.0) => {
                    self.dispatch(now, function);
                }
                Timer::Place(function) if self.functions.contains(function.0) => {
                    self.fail_overdue_place(now, function);
                }
                Timer::Start(_) | Timer::Place(_) => {}
                Timer::Idle(key) => self.check_idle(now, key),
                Timer::Stop(key) => self.stop_further(now, key),
                Timer::Measure(key) => self.measure(key),
                Timer::ShutDown => self.end_grace(),
                Timer::TearDown(key) => {
                    if self
                        .worker(key)
                        .is_some_and(|worker| worker.phase == Phase::Retiring)
                    {
                        self.kill(key, Phase::Killed);
                    }
                }
            }
        }
        false
    }

    /// Returns whether a timer that is due enforces a limit that the worker may have kept,
    /// according to messages that are not taken in yet.
    pub(super) fn is_limit(&self, timer: Timer, now: Instant) -> bool {
        match timer {
            Timer::Deadline(key) => {
                let deadline = self.call(key).and_then(|call| call.deadline);
                deadline.is_some_and(|at| at <= now)
            }
            Timer::Probe(key) => self
                .worker(key)
                .is_some_and(|worker| worker.probe_at.is_some_and(|at| at <= now)),
            Timer::Startup(key) => self.is_wanted(key),
            Timer::Stop(key) | Timer::TearDown(key) => self.worker(key).is_some(),
            Timer::ShutDown => true,
            Timer::Start(_) | Timer::Place(_) => false,
            Timer::Retry(_) | Timer::Idle(_) | Timer::Measure(_) => false,
        }
    }

    pub(super) fn arm_probe(&mut self, key: WorkerKey, at: Instant) {
        let worker = &mut self.workers[key];
        if worker.probe_at.is_none_or(|armed| at < armed) {
            worker.probe_at = Some(at);
            self.arm(at, Timer::Probe(key));
        }
    }

    pub(super) fn arm(&mut self, at: Instant, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    /// Counts timers whose subject is gone, and sweeps the heap once these may be more than half of
    /// it.
    pub(super) fn outdate(&mut self, timers: usize) {
        if !self.outdated_timers.add(timers, self.timers.len()) {
            return;
        }
        let mut timers = std::mem::take(&mut self.timers);
        timers.retain(|Reverse((_, timer))| match *timer {
            Timer::Retry(call) | Timer::Deadline(call) => self.call(call).is_some(),
            Timer::Startup(worker) => self.is_wanted(worker),
            Timer::Probe(worker)
            | Timer::Idle(worker)
            | Timer::Stop(worker)
            | Timer::Measure(worker)
            | Timer::TearDown(worker) => self.worker(worker).is_some(),
            Timer::Start(_) | Timer::Place(_) | Timer::ShutDown => true,
        });
        timers.shrink_to(2 * timers.len());
        self.timers = timers;
    }
}
