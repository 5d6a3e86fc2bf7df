//! The workers, and what they report.

use std::collections::HashMap;
use std::time::Instant;

use super::function::FunctionPolicy;
use super::messages::{Action, Answer, ExitReport, Reply, UnknownTicket};
use super::outstanding::{Inflight, Outstanding};
use super::starts::FailedStart;
use super::stop::Withdrawn;
use super::timers::Timer;
use super::worker_index::Standing;
use super::{FunctionKey, Scheduler, WorkerKey};
use crate::api::events::Event;
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
    /// What its functions have called, by the number that it gave it.
    pub(super) children: HashMap<u32, CallKey>,
    pub(super) next_child: u32,
    /// Calls that were sent and not recalled, ever.
    pub(super) accepted: u64,
    /// When the worker is to be probed for an attempt that runs too long.
    pub(super) probe_at: Option<Instant>,
    /// When its last answer was taken in.
    pub(super) answered_at: Instant,
    /// A ticket that it neither executes nor answers, and when that was first seen.
    pub(super) stalled: Option<(u64, Instant)>,
    pub(super) idle_since: Instant,
    pub(super) started: Instant,
    pub(super) ready_at: Option<Instant>,
    pub(super) idle_timer: bool,
    pub(super) recall_pending: bool,
    pub(super) measure_timer: bool,
    /// It asked to be replaced.
    pub(super) used_up: bool,
    /// An attempt has panicked in it.
    pub(super) panicked: bool,
    /// It is given no calls but those that need a worker in which nothing has panicked.
    pub(super) kept: bool,
    /// It executes such calls, and what runs beside them might panic: it is given no others either.
    pub(super) apart: bool,
    /// Something that it executes is to stop: it is given nothing more until that has ended.
    pub(super) draining: bool,
    /// It is given nothing more until it has answered what it has.
    pub(super) is_reserved: bool,
    /// The most memory that it was seen to take, in bytes.
    pub(super) peak: u64,
    /// Where it is filed.
    pub(super) place: usize,
    /// What it is filed as.
    pub(super) standing: Standing,
    /// It may have changed since.
    pub(super) dirty: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready,
    /// Was told to end; has nothing to do.
    Retiring,
    /// Was killed by us.
    Killed,
    /// Was killed by us because it broke the protocol.
    Broken(Box<str>),
    /// Was killed by us because it took more memory than it may.
    OutOfMemory,
    /// Failed to start and was killed; accounted for when it is gone and its output drained.
    FailedStart(Startup),
}

impl Worker {
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
            measure_timer: false,
            used_up: false,
            panicked: false,
            kept: false,
            apart: false,
            draining: false,
            is_reserved: false,
            peak: 0,
            place: 0,
            standing: Standing::default(),
            dirty: false,
        }
    }

    /// Whether it executes something, or something that it called is under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.outstanding.is_empty() || !self.children.is_empty()
    }

    /// It has answered all that it had.
    pub(super) fn rests(&mut self, now: Instant) {
        self.idle_since = now;
        self.is_reserved = false;
        self.apart = false;
    }

    /// Whether it can be given calls.
    pub(super) fn takes_calls(&self, policy: &FunctionPolicy) -> bool {
        !self.kept && !self.apart && self.takes_some_calls(policy)
    }

    /// Returns whether it can be given calls of one kind or another.
    pub(super) fn takes_some_calls(&self, policy: &FunctionPolicy) -> bool {
        self.phase == Phase::Ready
            && !self.draining
            && !self.is_reserved
            && self.children.is_empty()
            && self.remaining(policy) > 0
    }

    /// How many more calls it may take.
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
    /// The worker's process exists.
    pub(crate) fn spawned(&mut self, now: Instant, key: WorkerKey, pid: u32) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.pid = Some(pid);
        let function = worker.function;
        if worker.phase == Phase::Starting {
            let limit = self.functions[function.0].policy.startup_timeout;
            if let Some(at) = now.checked_add(limit) {
                self.arm(at, Timer::Startup(key));
            }
            self.arm_measure(now, key);
        }
    }

    /// The worker's set-up is done.
    pub(crate) fn ready(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.phase != Phase::Starting {
            return;
        }
        worker.phase = Phase::Ready;
        worker.idle_since = now;
        worker.ready_at = Some(now);
        let (function, worker_pid) = (worker.function, worker.pid);
        self.outdate(1);
        self.functions[function.0].starts.succeeded(now);
        self.places.retain(|other| *other != function);
        if self.observed {
            let function = self.functions[function.0].policy.name;
            self.publish(Event::WorkerUp {
                function,
                worker_pid,
            });
        }
        self.dispatch(now, function);
        self.arm_idle(key);
    }

    /// The worker told why it cannot become ready.
    pub(crate) fn failed_to_start(&mut self, key: WorkerKey, startup: Startup) {
        if let Some(worker) = self.worker(key)
            && worker.phase == Phase::Starting
        {
            self.kill(key, Phase::FailedStart(startup));
        }
    }

    /// The worker answered. [`go_on`](Self::go_on) is to follow; many answers may share
    /// one. An answer to what was not asked breaks the protocol.
    pub(crate) fn finished(
        &mut self,
        now: Instant,
        key: WorkerKey,
        ticket: u64,
        reply: Reply,
    ) -> Result<Option<FunctionKey>, UnknownTicket> {
        let Some(function) = self.worker(key).map(|worker| worker.function) else {
            return Ok(None);
        };
        let used_up = reply.used_up;
        let panicked = matches!(reply.answer, Answer::Panicked(_));
        let state = &mut self.functions[function.0];
        if reply.timed > 0 {
            state.took(reply.duration, reply.timed);
        }
        match reply.answer {
            Answer::Ok(values) => self.succeeded(now, key, ticket, values)?,
            answer => self.failed(now, key, ticket, Reply { answer, ..reply })?,
        }
        if panicked {
            self.worker_panicked(key);
        }
        let worker = &mut self.workers[key];
        // Looked at only then: there may be hundreds on their way.
        if worker.draining {
            worker.draining = worker.outstanding.iter().any(|one| one.stop.is_some());
        }
        worker.used_up |= used_up;
        worker.answered_at = now;
        if worker.outstanding.is_empty() {
            worker.rests(now);
            self.arm_idle(key);
        } else if used_up {
            self.recall(key);
        }
        self.retire_when_used_up(now, key);
        Ok(Some(function))
    }

    /// The worker sent something that makes no sense.
    pub(crate) fn broken(&mut self, key: WorkerKey, reason: Box<str>) {
        if let Some(worker) = self.worker(key) {
            match worker.phase {
                Phase::Ready | Phase::Retiring => self.kill(key, Phase::Broken(reason)),
                Phase::Starting => self.failed_to_start(key, Startup::Handshake(reason)),
                Phase::Killed | Phase::Broken(_) | Phase::OutOfMemory | Phase::FailedStart(_) => {}
            }
        }
    }

    /// What the worker had not claimed was taken back: everything after `claimed`.
    pub(crate) fn recalled(&mut self, now: Instant, key: WorkerKey, claimed: u64) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.recall_pending = false;
        let function = worker.function;
        self.part(key, claimed + 1);
        let worker = &mut self.workers[key];
        let mut recalled = Vec::new();
        while let Some(inflight) = worker.outstanding.pop_after(claimed) {
            worker.accepted -= u64::from(inflight.count);
            recalled.extend(inflight.call.map(|call| (call, inflight.withdrawn)));
        }
        if worker.outstanding.is_empty() {
            worker.rests(now);
        }
        // These were claimed: they are being executed, or done and not reported yet.
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

    /// The worker's process has ended, and everything it had sent was taken in before.
    pub(crate) fn exited(&mut self, now: Instant, key: WorkerKey, mut report: ExitReport) {
        // Each of those that were executing is looked at by itself.
        self.isolate_up_to(key, report.claimed);
        let Some(worker) = self.remove_worker(key) else {
            return;
        };
        let function = worker.function;
        let limit = self.functions[function.0].policy.memory;
        report.cause = worker.cause(report.cause, limit);
        self.cancel_children(worker.children.values().copied().collect());
        if self.observed {
            let function = self.functions[function.0].policy.name;
            self.publish(Event::WorkerDown {
                function,
                worker_pid: worker.pid,
                cause: report.cause,
            });
        }
        match worker.phase {
            Phase::Starting => {
                let startup = match report.panic {
                    Some(last) => Startup::SetUp(format!("panicked: {}", last.panic).into()),
                    None => Startup::Exited(report.cause),
                };
                let failed = FailedStart {
                    startup,
                    stderr_tail: report.stderr_tail,
                    is_for_want_of_resources: false,
                };
                self.start_failed(now, function, worker.id, failed);
            }
            Phase::FailedStart(startup) => {
                let failed = FailedStart {
                    startup,
                    stderr_tail: report.stderr_tail,
                    is_for_want_of_resources: false,
                };
                self.start_failed(now, function, worker.id, failed);
            }
            Phase::Ready
            | Phase::Retiring
            | Phase::Killed
            | Phase::Broken(_)
            | Phase::OutOfMemory => self.take_over(now, worker, report),
        }
        self.dispatch(now, function);
        self.place_is_free(now);
    }

    /// Kills a worker; what it has not claimed goes back into the queue at once.
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
