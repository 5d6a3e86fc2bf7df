//! Tells subscribers about calls and workers. Nothing is built without subscribers.

use std::time::{Duration, Instant};

use super::workers::{Worker, WorkerIdentity};
use super::{Action, Call, Scheduler, WorkerKey};
use crate::api::call_id::CallNumber;
use crate::api::context::Attempt;
use crate::api::events::{CallOutcome, Event, EventKind, Interest, Record, WorkerId};
use crate::job::outcome::{CallKey, Failure};
use crate::job::parts::Parts;

/// The time that a worker reports for inputs that it has answered together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    pub(super) duration: Duration,
    /// The number of inputs that the time is the total of.
    pub(super) inputs: u32,
}

impl<P: Parts> Scheduler<P> {
    /// Sets which events the scheduler publishes.
    pub(crate) fn set_interest(&mut self, interest: Interest) {
        self.interest = interest;
    }

    /// Returns whether subscribers are told of attempts that take long or fail.
    pub(super) fn is_observed(&self) -> bool {
        self.interest > Interest::Nothing
    }

    fn publish(&mut self, event: Event, count: u32) {
        self.actions
            .push_back(Action::Publish(Box::new(Record { event, count })));
    }

    /// Publishes that a call was submitted.
    pub(super) fn publish_queued(&mut self, key: CallKey) {
        if self.interest == Interest::Everything {
            self.publish_call(key, EventKind::Queued);
        }
    }

    /// Publishes that a call will be run again.
    pub(super) fn publish_retry(&mut self, key: CallKey, delay: Duration) {
        if self.is_observed()
            && let Some(call) = self.call(key)
        {
            let kind = EventKind::Retrying {
                delay,
                max_attempts: call.max_attempts(),
            };
            self.publish_call(key, kind);
        }
    }

    /// Publishes an event of a call, or of each call of a chunk.
    fn publish_call(&mut self, key: CallKey, kind: EventKind) {
        let Some(call) = self.call(key) else { return };
        let count = call.payload.count();
        let event = call.event(key.id, kind);
        self.publish(event, count);
    }

    /// Publishes that an attempt was handed to a worker.
    pub(super) fn publish_start(&mut self, now: Instant, key: CallKey, worker: WorkerKey) {
        if self.interest < Interest::Everything {
            return;
        }
        let Some(identity) = self.worker(worker).map(Worker::identity) else {
            return;
        };
        let Some(call) = self.call(key) else { return };
        let queued = now.saturating_duration_since(call.queued_at);
        let count = call.payload.count();
        let mut event = call.event(key.id, EventKind::Started { queued });
        event.attempt = Some(call.attempt);
        set_worker(&mut event, identity);
        self.publish(event, count);
    }

    /// Publishes that a worker has executed an input for half of its timeout.
    pub(super) fn publish_slow(&mut self, worker: WorkerKey, ticket: u64, elapsed: Duration) {
        self.publish_executing(worker, ticket, |call| {
            Some(EventKind::Slow {
                elapsed,
                timeout: call.terms.policy.timeout?,
                max_attempts: call.max_attempts(),
            })
        });
    }

    /// Publishes that an attempt that has reached its timeout was asked to end.
    pub(super) fn publish_terminating(
        &mut self,
        worker: WorkerKey,
        ticket: u64,
        timeout: Duration,
        grace: Duration,
    ) {
        self.publish_executing(worker, ticket, |call| {
            Some(EventKind::Terminating {
                timeout,
                grace,
                max_attempts: call.max_attempts(),
            })
        });
    }

    /// Publishes an event of the attempt that a worker executes under a ticket. The ticket stands alone.
    fn publish_executing(
        &mut self,
        worker: WorkerKey,
        ticket: u64,
        kind: impl FnOnce(&Call<P>) -> Option<EventKind>,
    ) {
        if !self.is_observed() {
            return;
        }
        let Some(worker) = self.worker(worker) else {
            return;
        };
        let (identity, inflight) = (worker.identity(), worker.outstanding.get(ticket));
        let Some(key) = inflight.and_then(|inflight| inflight.call) else {
            return;
        };
        let Some(call) = self.call(key) else { return };
        let Some(kind) = kind(call) else { return };
        let mut event = call.event(key.id, kind);
        event.attempt = Some(call.attempt);
        set_worker(&mut event, identity);
        self.publish(event, 1);
    }

    /// Publishes the last attempt in the history of a call, which has failed.
    pub(super) fn publish_attempt(&mut self, key: CallKey, worker: WorkerIdentity) {
        if !self.is_observed() {
            return;
        }
        let Some(call) = self.call(key) else { return };
        let Some(attempt) = call.last_attempt() else {
            return;
        };
        let mut event = call.event(
            key.id,
            EventKind::AttemptFailed {
                outcome: attempt.outcome.clone(),
                error: attempt.error.clone(),
                ran: attempt.duration,
            },
        );
        event.attempt = Some(attempt.number);
        set_worker(&mut event, worker);
        self.publish(event, 1);
    }

    /// Publishes the results of the first `count` inputs of a call.
    pub(super) fn publish_success(
        &mut self,
        key: CallKey,
        count: u32,
        worker: WorkerIdentity,
        ran: Option<Ran>,
    ) {
        let Some(call) = self.call(key) else { return };
        let wanted = match call.attempt {
            1 => Interest::Everything,
            _ => Interest::Failures,
        };
        if self.interest < wanted {
            return;
        }
        let (last, others) = match ran {
            Some(ran) if ran.inputs > 0 => (Some(ran), count - 1),
            _ => (None, count),
        };
        let mut event = call.event(key.id, finished(None));
        event.attempt = Some(call.attempt);
        set_worker(&mut event, worker);
        let end = last.map(|ran| Event {
            kind: finished(Some(ran)),
            ..event.later(others)
        });
        if others > 0 {
            self.publish(event, others);
        }
        if let Some(end) = end {
            self.publish(end, 1);
        }
    }

    /// Publishes the end of a call without a result.
    pub(super) fn publish_failure(
        &mut self,
        id: CallNumber,
        call: &Call<P>,
        failure: &Failure,
        stderr_tail: Option<&str>,
    ) {
        if !self.is_observed() {
            return;
        }
        let last = call.last_attempt();
        let kind = failure.finished(
            last,
            call.terms.called.as_ref(),
            call.show_input(),
            stderr_tail,
        );
        let mut event = call.event(id, kind);
        event.attempt = last.map(|attempt| attempt.number);
        event.worker_pid = last.and_then(|attempt| attempt.worker_pid);
        self.publish(event, call.payload.count());
    }

    /// Publishes an event of a worker of a function.
    pub(super) fn publish_worker(
        &mut self,
        function: &'static str,
        worker: WorkerIdentity,
        kind: EventKind,
    ) {
        if !self.is_observed() {
            return;
        }
        let mut event = Event::new(function, kind);
        set_worker(&mut event, worker);
        self.publish(event, 1);
    }
}

fn finished(ran: Option<Ran>) -> EventKind {
    EventKind::Finished {
        outcome: CallOutcome::Succeeded,
        reason: None,
        ran: ran.map(|ran| ran.duration / ran.inputs),
        ran_of: ran.map_or(0, |ran| ran.inputs),
        details: None,
    }
}

impl<P: Parts> Call<P> {
    fn event(&self, id: CallNumber, kind: EventKind) -> Event {
        let mut event = Event::new(self.terms.name, kind);
        event.call = Some(id.of(event.run));
        event.parent = self.parent.as_ref().map(|parent| parent.call.of(event.run));
        event.input_index = self.payload.index();
        event
    }

    /// Returns the arguments as text.
    fn show_input(&self) -> Option<Box<str>> {
        let show = self.terms.show?;
        self.payload.show(show).map(Into::into)
    }

    /// Returns the number of attempts after which the call is given up, as far as its retries decide.
    fn max_attempts(&self) -> u32 {
        self.terms.policy.retries.max_retries().saturating_add(1)
    }

    fn last_attempt(&self) -> Option<&Attempt> {
        self.past.as_ref()?.attempts.last()
    }
}

fn set_worker(event: &mut Event, worker: WorkerIdentity) {
    event.worker = Some(WorkerId::new(worker.id));
    event.worker_pid = worker.pid;
}
