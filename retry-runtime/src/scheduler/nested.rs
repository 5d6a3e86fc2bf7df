//! Nested calls: calls that are made by calls.
//!
//! A worker that waits for nested calls makes room for them: the scheduler recalls the tickets that
//! the worker has not claimed, sends it nothing more, and does not count it as one of its
//! function's workers. A nested call therefore always finds a worker or may have one started.

use std::sync::Arc;
use std::time::Instant;

use super::stop::Withdrawn;
use super::{Call, CallKey, Failure, FunctionKey, Scheduler, Terms, WorkerKey};
use crate::api::call_id::CallNumber;
use crate::api::failure::{Cancelled, Rejected};
use crate::job::parts::Parts;

/// The maximum nesting depth of calls.
pub(super) const MAX_CALL_DEPTH: u32 = 10;

/// The origin of a nested call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NestedOrigin {
    /// The identity that the worker gave the call.
    pub(crate) id: CallNumber,
    pub(crate) worker: WorkerKey,
    /// The ticket of the call that makes it; zero if the worker's thread does not know.
    pub(crate) ticket: u64,
}

/// The call that made a nested call, and its worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    pub(super) worker: WorkerKey,
    pub(super) call: CallNumber,
}

/// The position of a call in the tree of nested calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: CallNumber,
    pub(super) parent: Option<Parent>,
    pub(super) depth: u32,
    /// `true` if the deadline is inherited from the call that makes this one.
    pub(super) deadline_is_inherited: bool,
}

impl Place {
    /// The position of a top-level call.
    pub(super) const TOP: Self = Self {
        id: CallNumber::NONE,
        parent: None,
        depth: 0,
        deadline_is_inherited: false,
    };
}

impl<P: Parts> Scheduler<P> {
    /// Takes in a call that a running function made. The caller must call
    /// [`dispatch`](Self::dispatch) afterwards.
    pub(crate) fn submit_nested(
        &mut self,
        now: Instant,
        function: FunctionKey,
        mut terms: Arc<Terms>,
        origin: NestedOrigin,
        payload: P,
    ) -> CallKey {
        let unknown = CallKey::nested(origin.id);
        self.isolate(origin.worker, origin.ticket);
        let Some(worker) = self.worker(origin.worker) else {
            return unknown;
        };
        let caller = worker.function;
        if worker.children.contains_key(&origin.id.number()) {
            let reason = "it made two calls of one number".into();
            self.kill_broken(origin.worker, reason);
            return unknown;
        }
        let outer = worker
            .outstanding
            .iter()
            // A thread that the function has started does not know which call it belongs to and
            // sends zero.
            .find(|inflight| inflight.ticket == origin.ticket || origin.ticket == 0)
            .and_then(|inflight| self.call(inflight.call?));
        let depth = outer.map_or(1, |outer| outer.depth + 1);
        let left = outer
            .and_then(|outer| outer.deadline)
            .map(|deadline| deadline.saturating_duration_since(now));
        let own = terms.policy.deadline;
        let own = own.map(|own| own.saturating_add(terms.policy.after));
        let inherited = left.filter(|left| own.is_none_or(|own| *left < own));
        if inherited.is_some() {
            Arc::make_mut(&mut terms).policy.deadline = inherited;
        }
        let parent = outer.map(|outer| Parent {
            worker: origin.worker,
            call: outer.id,
        });
        let was_waiting = self.is_waiting(origin.worker);
        let place = Place {
            id: origin.id,
            parent,
            depth,
            deadline_is_inherited: inherited.is_some(),
        };
        let key = self.enter(now, function, terms, payload, place, None);
        // The call may have been resolved at once; then the worker does not wait for it.
        if parent.is_some()
            && self.call(key).is_some()
            && let Some(worker) = self.worker_mut(origin.worker)
        {
            worker.children.insert(origin.id.number(), key);
        }
        if parent.is_none() {
            let why = Failure::Cancelled(Cancelled::WithOuterCall);
            self.withdraw(key, Withdrawn::Unwanted(why));
        } else if depth > MAX_CALL_DEPTH {
            let why = Failure::Rejected(Rejected::TooDeep {
                limit: MAX_CALL_DEPTH,
            });
            self.withdraw(key, Withdrawn::Unwanted(why));
        } else if !was_waiting {
            self.recall(origin.worker);
            self.unsettle(caller);
        }
        key
    }

    /// Allocates the identity of a call that a worker of this process makes.
    pub(crate) fn next_nested(&mut self, worker: WorkerKey) -> CallNumber {
        let Some(parent) = self.worker_mut(worker) else {
            return CallNumber::NONE;
        };
        parent.next_child += 1;
        CallNumber::nested(worker.id, parent.next_child)
    }

    /// Returns the key of a call that a worker made, if it is not resolved yet.
    pub(crate) fn find_nested(&self, worker: WorkerKey, id: CallNumber) -> Option<CallKey> {
        let worker = self.worker(worker)?;
        worker.children.get(&id.number()).copied()
    }

    /// Does the work that was deferred: balances functions that were dispatched or whose workers
    /// began or stopped waiting, retires used-up workers, gives places to waiting functions, and
    /// ends idle workers during a shutdown. Returns whether that left actions to perform. The
    /// local engine calls it after each step until it returns `false`.
    pub(crate) fn rebalance(&mut self, now: Instant) -> bool {
        while let Some(worker) = self.rejoined.pop() {
            self.retire_when_used_up(now, worker);
        }
        loop {
            while let Some(function) = self.unsettled.pop() {
                self.balance(now, function);
            }
            if !self.take_place(now) {
                break;
            }
        }
        self.make_places(now);
        self.drain(now);
        self.tidy();
        !self.actions.is_empty()
    }

    /// Returns whether a worker waits for nested calls.
    pub(super) fn is_waiting(&self, key: WorkerKey) -> bool {
        self.worker(key)
            .is_some_and(|worker| !worker.children.is_empty())
    }

    /// Schedules a function for the next [`rebalance`](Self::rebalance).
    pub(super) fn unsettle(&mut self, function: FunctionKey) {
        if !self.unsettled.contains(&function) {
            self.unsettled.push(function);
        }
    }

    /// Returns the call whose function made another one, if it is not resolved yet.
    pub(super) fn outer(&mut self, parent: &Parent) -> Option<&mut Call<P>> {
        let worker = self.worker(parent.worker)?;
        let mut calls = worker.outstanding.iter().filter_map(|one| one.call);
        let outer = calls.find(|call| call.id == parent.call)?;
        self.call_mut(outer)
    }

    /// Removes a resolved nested call from the worker that made it.
    pub(super) fn leave_parent(&mut self, worker: WorkerKey, id: CallNumber) {
        let Some(parent) = self.worker_mut(worker) else {
            return;
        };
        parent.children.remove(&id.number());
        if parent.children.is_empty() {
            let (function, is_idle) = (parent.function, !parent.is_busy());
            self.unsettle(function);
            self.arm_idle(worker);
            if is_idle {
                self.rejoined.push(worker);
            }
        }
    }

    /// Cancels the nested calls of a worker that is gone, since nothing waits for them.
    pub(super) fn cancel_children(&mut self, children: Vec<CallKey>) {
        for key in children {
            let why = Failure::Cancelled(Cancelled::WithOuterCall);
            self.withdraw(key, Withdrawn::Unwanted(why));
        }
    }
}
