//! The workers, and their reports.

use std::collections::HashMap;
use std::time::Instant;

use super::function::FunctionPolicy;
use super::messages::{Action, Answer, AnswerReport, ExitReport, UnknownTicket};
use super::outstanding::{Inflight, Outstanding};
use super::publishing::Ran;
use super::starts::FailedStart;
use super::stop::Withdrawn;
use super::timers::Timer;
use super::worker_index::Standing;
use super::{FunctionKey, Scheduler, WorkerKey};
use crate::api::events::EventKind;
use crate::api::failure::Startup;
use crate::job::outcome::CallKey;
use crate::job::parts::Parts;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: u64,
    pub(super) function: FunctionKey,
    pub(super) pid: Option<u32>,
    pub(super) phase: Phase,
    pub(super) outstanding: Outstanding,
    pub(super) next_ticket: u64,
    /// The pending nested calls of its functions, by the numbers that the worker gave them.
    pub(super) children: HashMap<u32, CallKey>,
    pub(super) next_child: u32,
    /// The total number of inputs that were sent and not recalled.
    pub(super) accepted: u64,
    /// The time of the next probe for attempts that run too long.
    pub(super) probe_at: Option<Instant>,
    /// The time at which its last answer was taken in.
    pub(super) answered_at: Instant,
    /// The first ticket that the worker neither executes nor answers, and the time when that was
    /// first seen.
    pub(super) stalled: Option<(u64, Instant)>,
    pub(super) idle_since: Instant,
    pub(super) started: Instant,
    pub(super) ready_at: Option<Instant>,
    pub(super) idle_timer: bool,
    pub(super) recall_pending: bool,
    /// The ticket that the worker may have been receiving when it was killed for its memory, and had not claimed.
    pub(super) received: Option<u64>,
    pub(super) measure_timer: bool,
    /// Set once the worker takes no further calls, since it asked to be replaced or must give up its
    /// place.
    pub(super) used_up: bool,
    /// Set once an attempt has panicked in the worker.
    pub(super) panicked: bool,
    /// True while the worker is reserved for calls that need a worker in which nothing has panicked.
    pub(super) kept: bool,
    /// True while the worker executes such calls. It is given no others then, since these might panic
    /// beside them.
    pub(super) apart: bool,
    /// True while the worker executes a call that was told to stop. The worker is given nothing more
    /// until that call has ended.
    pub(super) draining: bool,
    /// Set once one of several calls has not stopped in time: the next probe decides which one is to blame, and
    /// the worker is killed.
    pub(super) is_given_up: bool,
    /// True while the worker gets no further calls until it has answered those that it has.
    pub(super) is_reserved: bool,
    /// The peak of the measured memory, in bytes.
    pub(super) peak: u64,
    /// The worker's position in the index of its function.
    pub(super) place: usize,
    /// The state under which the worker is indexed.
    pub(super) standing: Standing,
    /// Set once the worker may have changed since it was indexed.
    pub(super) dirty: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready,
    /// The worker was told to exit when it was idle.
    Retiring,
    /// The scheduler killed the worker.
    Killed,
    /// The scheduler killed the worker because it broke the protocol.
    Broken(Box<str>),
    /// The scheduler killed the worker because it exceeded its memory limit.
    OutOfMemory,
    /// The worker failed to start and was killed; the failure is handled once its process is gone and its
    /// output drained.
    FailedStart(Startup),
}

/// The number and the process of a worker, for those who read about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerIdentity {
    pub(super) id: u64,
    pub(super) pid: Option<u32>,
}

impl Worker {
    pub(super) fn identity(&self) -> WorkerIdentity {
        WorkerIdentity {
            id: self.id,
            pid: self.pid,
        }
    }

    pub(super) fn new(id: u64, function: FunctionKey, now: Instant) -> Self {
        Self {
            id,
            function,
            pid: None,
            phase: Phase::Starting,
            outstanding: Outstanding::default(),
            next_ticket: 1,
            children: HashMap::new(),
            next_child: 0,
            accepted: 0,
            probe_at: None,
            answered_at: now,
            stalled: None,
            idle_since: now,
            started: now,
            ready_at: None,
            idle_timer: false,
            recall_pending: false,
            received: None,
            measure_timer: false,
            used_up: false,
            panicked: false,
            kept: false,
            apart: false,
            draining: false,
            is_given_up: false,
            is_reserved: false,
            peak: 0,
            place: 0,
            standing: Standing::default(),
            dirty: false,
        }
    }

    /// Returns whether the worker has inputs to answer or nested calls under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.outstanding.is_empty() || !self.children.is_empty()
    }

    /// Marks the worker as idle: it has answered everything that it had.
    pub(super) fn mark_idle(&mut self, now: Instant) {
        self.idle_since = now;
        self.is_reserved = false;
        self.apart = false;
    }

    /// Returns whether the worker can be given any call of its function.
    pub(super) fn takes_calls(&self, policy: &FunctionPolicy) -> bool {
        !self.kept && !self.apart && self.takes_some_calls(policy)
    }

    /// Returns whether the worker can be given calls at all, if perhaps only those that need a
    /// clean worker.
    pub(super) fn takes_some_calls(&self, policy: &FunctionPolicy) -> bool {
        self.phase == Phase::Ready
            && !self.draining
            && !self.is_reserved
            && self.children.is_empty()
            && self.remaining(policy) > 0
    }

    /// Returns how many more calls the worker may take.
    pub(super) fn remaining(&self, policy: &FunctionPolicy) -> u64 {
        if self.used_up {
            return 0;
        }
        policy
            .max_calls_per_worker
            .map_or(u64::MAX, |most| most.saturating_sub(self.accepted))
    }
}

impl<P: Parts> Scheduler<P> {
    /// Records the process of a worker, and arms the start-up timeout.
    pub(crate) fn handle_spawn(&mut self, now: Instant, key: WorkerKey, pid: u32) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.pid = Some(pid);
        let function = worker.function;
        let is_starting = worker.phase == Phase::Starting;
        let identity = worker.identity();
        let name = self.functions[function.0].policy.name;
        self.publish_worker(name, identity, EventKind::WorkerStarting);
        if is_starting {
            let limit = self.functions[function.0].policy.startup_timeout;
            if let Some(at) = now.checked_add(limit) {
                self.arm(at, Timer::Startup(key));
            }
            self.arm_measure(now, key);
        }
    }

    /// Marks a worker as ready, since its set-up is done.
    pub(crate) fn mark_ready(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.phase != Phase::Starting {
            return;
        }
        worker.phase = Phase::Ready;
        worker.idle_since = now;
        worker.ready_at = Some(now);
        let (function, identity) = (worker.function, worker.identity());
        let set_up = now.saturating_duration_since(worker.started);
        self.outdate(1);
        let state = &mut self.functions[function.0];
        state.starts.record_success(now);
        let workers = state.index.keys().len();
        let statistics = &mut state.statistics;
        statistics.workers += 1;
        statistics.set_up += set_up;
        statistics.most_workers = statistics.most_workers.max(workers);
        self.places.retain(|other| *other != function);
        let name = self.functions[function.0].policy.name;
        self.publish_worker(name, identity, EventKind::WorkerUp { set_up });
        self.dispatch(now, function);
        self.arm_idle(key);
    }

    /// Kills a worker that cannot become ready, for the given reason.
    pub(crate) fn fail_start(&mut self, key: WorkerKey, startup: Startup) {
        if let Some(worker) = self.worker(key)
            && worker.phase == Phase::Starting
        {
            self.kill(key, Phase::FailedStart(startup));
        }
    }

    /// Takes in an answer of a worker. The caller must call [`go_on`](Self::go_on) afterwards; many
    /// answers may share one call of it. Returns the worker's function, if the worker still exists.
    ///
    /// An answer to a ticket that the worker does not hold breaks the protocol and is an error.
    pub(crate) fn handle_answer(
        &mut self,
        now: Instant,
        key: WorkerKey,
        ticket: u64,
        report: AnswerReport,
    ) -> Result<Option<FunctionKey>, UnknownTicket> {
        let Some(function) = self.worker(key).map(|worker| worker.function) else {
            return Ok(None);
        };
        let used_up = report.used_up;
        let panicked = matches!(report.answer, Answer::Panicked(_));
        let state = &mut self.functions[function.0];
        if report.timed > 0 {
            state.add_duration(report.duration, report.timed);
            // Quick inputs are answered together, and have the mean of their times.
            let mean = report.duration / report.timed;
            if state.statistics.is_slowest(mean) {
                let index = match report.timed {
                    1 => self.call_of(key, ticket).and_then(|(_, index, _)| index),
                    _ => None,
                };
                let statistics = &mut self.functions[function.0].statistics;
                statistics.note_slowest(mean, index);
            }
        }
        self.functions[function.0].statistics.note_time(now);
        match report.answer {
            Answer::Ok(values) => {
                let ran = Ran {
                    duration: report.duration,
                    inputs: report.timed,
                };
                self.handle_values(now, key, ticket, values, ran)?;
            }
            answer => self.handle_failure(now, key, ticket, AnswerReport { answer, ..report })?,
        }
        if panicked {
            self.mark_panicked(key);
        }
        let worker = &mut self.workers[key];
        // Only a draining worker is checked, since hundreds of inputs may be on their way.
        if worker.draining {
            worker.draining = worker.outstanding.iter().any(|one| one.stop.is_some());
        }
        worker.used_up |= used_up;
        worker.answered_at = now;
        if worker.outstanding.is_empty() {
            worker.mark_idle(now);
            self.arm_idle(key);
        } else if used_up {
            self.recall(key);
        }
        self.retire_when_used_up(now, key);
        Ok(Some(function))
    }

    /// Kills a worker that broke the protocol.
    pub(crate) fn kill_broken(&mut self, key: WorkerKey, reason: Box<str>) {
        if let Some(worker) = self.worker(key) {
            match worker.phase {
                Phase::Ready | Phase::Retiring => self.kill(key, Phase::Broken(reason)),
                Phase::Starting => self.fail_start(key, Startup::Handshake(reason)),
                Phase::Killed | Phase::Broken(_) | Phase::OutOfMemory | Phase::FailedStart(_) => {}
            }
        }
    }

    /// Takes in the result of a recall: the tickets after `claimed` were recalled, and their calls
    /// are queued again.
    pub(crate) fn handle_recall(&mut self, now: Instant, key: WorkerKey, claimed: u64) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.recall_pending = false;
        let function = worker.function;
        self.part(key, claimed + 1);
        let worker = &mut self.workers[key];
        // One that is killed for its memory while it executes nothing may be receiving the first, as its end will tell.
        if worker.phase == Phase::OutOfMemory {
            let first = worker.outstanding.iter().next();
            let received = first.filter(|first| first.ticket > claimed && first.count == 1);
            worker.received = received.map(|first| first.ticket);
        }
        let kept = worker.received.unwrap_or(claimed);
        let mut recalled = Vec::new();
        while let Some(inflight) = worker.outstanding.pop_after(kept) {
            worker.accepted -= u64::from(inflight.count);
            recalled.extend(inflight.call.map(|call| (call, inflight.withdrawn)));
        }
        if worker.outstanding.is_empty() {
            worker.mark_idle(now);
        }
        // The rest was claimed: the inputs are executing, or done and not reported yet.
        if worker.outstanding.iter().any(Inflight::is_to_end) {
            self.actions.push_back(Action::Probe { worker: key });
        }
        for (call, withdrawn) in recalled {
            let put_off = self.unbegin_deadline(call);
            match withdrawn.as_deref() {
                Some(Withdrawn::Deadline) if put_off => self.enqueue_front(now, call),
                // This attempt never ran.
                Some(withdrawn) => self.end_withdrawn_call(call, withdrawn, None),
                None => self.enqueue_front(now, call),
            }
        }
        self.hand_out(now, function);
        self.scale(now, function);
        self.retire_when_used_up(now, key);
        self.arm_idle(key);
    }

    /// Takes in the end of a worker's process. The local engine must take in everything that the process
    /// had sent before that.
    pub(crate) fn handle_exit(&mut self, now: Instant, key: WorkerKey, mut report: ExitReport) {
        // Each input that was executing is handled separately.
        self.isolate_up_to(key, report.claimed);
        let Some(worker) = self.remove_worker(key) else {
            return;
        };
        let function = worker.function;
        let limit = self.functions[function.0].policy.memory;
        report.cause = worker.cause(report.cause, limit);
        self.cancel_children(worker.children.values().copied().collect());
        let name = self.functions[function.0].policy.name;
        let cause = report.cause;
        self.publish_worker(name, worker.identity(), EventKind::WorkerDown { cause });
        let startup = match (&worker.phase, &report.panic) {
            _ if report.has_outlived_lease => None,
            (Phase::Starting, Some(last)) => {
                Some(Startup::SetUp(format!("panicked: {}", last.panic).into()))
            }
            (Phase::Starting, None) => Some(Startup::Exited(report.cause)),
            (Phase::FailedStart(startup), _) => Some(startup.clone()),
            (
                Phase::Ready
                | Phase::Retiring
                | Phase::Killed
                | Phase::Broken(_)
                | Phase::OutOfMemory,
                _,
            ) => None,
        };
        match startup {
            Some(startup) => {
                let failed = FailedStart {
                    startup,
                    stderr_tail: report.stderr_tail,
                    is_for_want_of_resources: false,
                };
                self.handle_failed_start(now, &worker, failed);
            }
            None => self.take_over(now, worker, report),
        }
        self.dispatch(now, function);
        self.give_freed_place(now);
    }

    /// Kills a worker. Its unclaimed inputs are queued again at once.
    pub(super) fn kill(&mut self, key: WorkerKey, phase: Phase) {
        self.recall(key);
        if let Some(worker) = self.worker_mut(key) {
            worker.phase = phase;
            self.actions.push_back(Action::Kill { worker: key });
        }
    }

    pub(super) fn worker(&self, key: WorkerKey) -> Option<&Worker> {
        self.workers.get(key)
    }

    pub(super) fn worker_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.workers.get_mut(key)
    }
}
