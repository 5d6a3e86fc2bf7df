//! Chunks: inputs that are scheduled together for as long as the same happens to all of them.
//!
//! A call may stand for a chunk of inputs. Their identities and tickets are consecutive, and no
//! attempt at any of them has ended yet. As soon as one input fails, is stopped or was executing in
//! a crash, the scheduler splits it off and it stands alone.

use super::publishing::Ran;
use super::workers::WorkerIdentity;
use super::{Action, CallKey, CallState, Outcome, Scheduler, Timer, WorkerKey};
use crate::codec::payload::Payload;
use crate::job::parts::Parts;

impl<P: Parts> Scheduler<P> {
    /// Splits what was sent to a worker so that a ticket stands alone.
    pub(super) fn isolate(&mut self, worker: WorkerKey, ticket: u64) {
        self.part(worker, ticket);
        // The ticket comes from the worker and may be any number, so the addition must not
        // overflow.
        self.part(worker, ticket.saturating_add(1));
    }

    /// Isolates each ticket up to this one.
    pub(super) fn isolate_up_to(&mut self, key: WorkerKey, ticket: u64) {
        let first = |worker: &super::Worker| worker.outstanding.iter().next().map(|one| one.ticket);
        let Some(first) = self.worker(key).and_then(first) else {
            return;
        };
        // The ticket comes from the worker and may be any number, so it is capped.
        let end = self.last_ticket(key).min(ticket).saturating_add(1);
        for ticket in first + 1..=end {
            self.part(key, ticket);
        }
    }

    /// Splits a chunk that was sent to a worker in front of a ticket. Returns the new call of the
    /// inputs from that ticket on, if the ticket was inside a chunk whose results are still wanted.
    pub(super) fn part(&mut self, key: WorkerKey, ticket: u64) -> Option<CallKey> {
        let (call, back) = self.worker_mut(key)?.outstanding.part(ticket)?;
        let count = back.count;
        let call = call?;
        let front = self.call(call)?.payload.count() - count;
        let back = self.split(call, front);
        let inflight = self.worker_mut(key)?.outstanding.find(ticket)?;
        inflight.call = back;
        back
    }

    /// Splits a call. The first inputs keep the key; returns the new key of the others.
    pub(super) fn split(&mut self, key: CallKey, front: u32) -> Option<CallKey> {
        let call = self.call_mut(key)?;
        let first = call.payload.split_front(front);
        let rest = std::mem::replace(&mut call.payload, first);
        let mut other = call.beside(rest);
        other.advance(front);
        let deadline = other.deadline;
        let other = self.insert(other);
        if let Some(at) = deadline {
            self.arm(at, Timer::Deadline(other));
        }
        Some(other)
    }

    /// Counts calls that succeed after a failed attempt.
    fn count_late_success(&mut self, key: CallKey, count: u32) {
        if let Some(call) = self.call(key)
            && call.attempt > 1
        {
            let function = call.function;
            self.functions[function.0].statistics.after_retry += u64::from(count);
        }
    }

    /// Resolves the first inputs of a call with their values. Returns the new key of the remaining
    /// inputs, if any remain.
    pub(super) fn succeed(
        &mut self,
        key: CallKey,
        values: Payload,
        worker: WorkerIdentity,
        ran: Option<Ran>,
    ) -> Option<CallKey> {
        self.publish_success(key, values.count(), worker, ran);
        self.count_late_success(key, values.count());
        let call = self.call_mut(key)?;
        let count = values.count();
        if let Some(budget) = &call.terms.budget {
            budget.count_attempts(count);
        }
        if count == call.payload.count() {
            self.resolve(key, Ok(values), None);
            return None;
        }
        let payload = call.payload.split_front(count);
        call.advance(count);
        let left = CallKey {
            index: key.index,
            id: call.id,
        };
        let (function, deadline) = (call.function, call.deadline);
        if let Some(at) = deadline {
            self.arm(at, Timer::Deadline(left));
            self.outdate(1);
        }
        self.functions[function.0].counts.finished += u64::from(count);
        self.actions.push_back(Action::Resolve {
            payload,
            outcome: Outcome {
                call: key.id,
                result: Ok(values),
                history: None,
            },
        });
        Some(left)
    }
}

impl<P> super::Call<P> {
    /// Creates a call for inputs that were part of this one.
    fn beside(&self, payload: P) -> Self {
        Self {
            id: self.id,
            function: self.function,
            terms: std::sync::Arc::clone(&self.terms),
            deadline: self.deadline,
            deadline_begins_when_sent: self.deadline_begins_when_sent,
            state: self.state,
            queued_at: self.queued_at,
            attempt: self.attempt,
            depth: self.depth,
            parent: self.parent.clone(),
            past: None,
            payload,
        }
    }

    /// Moves the identity and the ticket past the first inputs, which are no longer part of the
    /// call.
    fn advance(&mut self, count: u32) {
        self.id.0 += u64::from(count);
        if let CallState::Sent { ticket, .. } = &mut self.state {
            *ticket += u64::from(count);
        }
    }
}
