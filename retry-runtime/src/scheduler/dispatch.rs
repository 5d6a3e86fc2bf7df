//! Dispatch: sends queued calls to workers, recalls prefetched ones for idle workers, and retires
//! workers.

use std::time::Instant;

use super::function::Lane;
use super::queue::Turn;
use super::suspects::Suspicion;
use super::{
    Action, CallKey, CallState, FunctionKey, Hold, Inflight, Phase, Scheduler, TEAR_DOWN, Timer,
    WorkerKey,
};
use crate::job::caller::Caller;
use crate::job::parts::Parts;

impl<P: Parts> Scheduler<P> {
    /// Returns how many inputs the workers of a function together may hold ahead of time.
    pub(crate) fn ahead(&self, function: FunctionKey) -> usize {
        let state = &self.functions[function.0];
        state.depth() * state.index.keys().len()
    }

    /// Returns the maximum number of workers of a function.
    pub(crate) fn most_workers(&self, function: FunctionKey) -> usize {
        self.functions[function.0].policy.max_workers
    }

    /// Sends queued calls of a function to its workers. The remaining work is
    /// [deferred](Self::unsettle) until those calls are on their way, so that the workers begin
    /// meanwhile.
    pub(crate) fn dispatch(&mut self, now: Instant, function: FunctionKey) {
        self.hand_out(now, function);
        self.unsettle(function);
    }

    /// Sends queued calls of a function, starts workers if there are too few, and recalls inputs
    /// that wait behind a busy worker while another one is idle.
    pub(super) fn balance(&mut self, now: Instant, function: FunctionKey) {
        self.hand_out(now, function);
        self.scale(now, function);
        self.steal(function);
    }

    /// Dispatches a function after its workers have answered.
    pub(crate) fn go_on(&mut self, now: Instant, function: FunctionKey) {
        // Usually there is nothing left to do. An answer alone creates no calls to send or to
        // recall and no need for a worker that did not exist before.
        let state = &self.functions[function.0];
        if state.queued() > 0 || state.index.may_be_behind() {
            self.dispatch(now, function);
        }
    }

    /// Sends queued calls to workers, the least loaded first.
    pub(super) fn hand_out(&mut self, now: Instant, function: FunctionKey) {
        self.hand_out_to_clean(now, function);
        loop {
            let state = &mut self.functions[function.0];
            if state.queued() == 0 {
                state.clear_queues();
                return;
            }
            if self.hand_out_suspect(now, function) {
                continue;
            }
            let Some(turn) = self.next_turn(function, Lane::Any) else {
                return;
            };
            let nested = turn.depth > 0;
            let state = &self.functions[function.0];
            let deepest = state.depth();
            let (max_workers, at_once) = (state.policy.max_workers, state.policy.at_once);
            let (index, counts) = self.index(function);
            let allowed = counts.allows(max_workers, nested);
            // While workers wait for nested calls nothing is prefetched: which worker is free next
            // is known only when they continue.
            let depth = if counts.waiting > 0 { at_once } else { deepest };
            let least = index.least(allowed);
            let Some((load, key)) = least.filter(|(load, _)| *load < depth) else {
                return;
            };
            let state = &self.functions[function.0];
            // Each worker that can take calls gets an even share, and at least one call.
            let queued = if nested {
                state.queued_nested
            } else {
                state.queued_top
            };
            let share = queued
                .div_ceil(counts.open(allowed))
                .min(depth - load)
                .max(1) as u64;
            let mut share = share.min(self.workers[key].remaining(&state.policy));
            let mut next = Some(turn);
            while share > 0
                && let Some(turn) = next.filter(|turn| (turn.depth > 0) == nested)
            {
                let most = u32::try_from(share).unwrap_or(u32::MAX);
                share -= u64::from(self.send_next(now, key, Lane::Any, turn, most));
                next = if share > 0 {
                    self.next_turn(function, Lane::Any)
                } else {
                    None
                };
            }
        }
    }

    pub(super) fn next_turn(&mut self, function: FunctionKey, lane: Lane) -> Option<Turn> {
        let (calls, queue) = (&self.calls, self.functions[function.0].lane_mut(lane));
        let call = |key: CallKey| calls.get(key.index).filter(|call| call.id == key.id);
        queue.next(
            &self.holds,
            |key| call(key).is_some_and(|call| call.state == CallState::Queued),
            |key| call(key)?.payload.index(),
            |key| call(key).is_some_and(|call| call.payload.has_room()),
        )
    }

    /// Returns whether a call is queued and not held back. Drops stale entries and charges callers that are
    /// held back, as [`next_turn`](Self::next_turn) does.
    pub(super) fn look_for_turn(&mut self, function: FunctionKey, lane: Lane) -> bool {
        self.functions[function.0].queued() > 0 && self.next_turn(function, lane).is_some()
    }

    /// Holds back the inputs of a caller, except the one with the given index, or releases them if
    /// `held` is `None`.
    pub(crate) fn hold(&mut self, caller: Caller, held: Option<Option<u64>>) {
        self.holds.retain(|hold| hold.caller != caller);
        self.holds
            .extend(held.map(|except| Hold { caller, except }));
        self.look_at_queues();
    }

    /// Schedules a check of all functions with queued calls, some of which may be sendable by now.
    pub(crate) fn look_at_queues(&mut self) {
        let with_queue = self.functions.iter().filter(|(_, one)| one.queued() > 0);
        let functions: Vec<_> = with_queue.map(|(place, _)| FunctionKey(place)).collect();
        for function in functions {
            self.unsettle(function);
        }
    }

    /// Sends the call of a turn, at most `most` inputs of it. Returns the number of inputs that
    /// were sent.
    pub(super) fn send_next(
        &mut self,
        now: Instant,
        worker: WorkerKey,
        lane: Lane,
        turn: Turn,
        most: u32,
    ) -> u32 {
        let function = self.workers[worker].function;
        let queue = self.functions[function.0].lane_mut(lane);
        let call = queue.take(turn).expect("it is there");
        let entry = &self.calls[call.index];
        let (depth, caller) = (entry.depth, entry.payload.caller());
        if entry.suspicion() == Suspicion::Culprit && lane == Lane::Any {
            // A culprit's turn moves it to the queue of calls that need an otherwise idle worker.
            let queue = self.functions[function.0].lane_mut(Lane::Alone);
            queue.push_back(depth, caller, call);
            return 0;
        }
        let most = if turn.is_alone { 1 } else { most };
        let count = entry.payload.count().min(most);
        if count < entry.payload.count()
            && let Some(rest) = self.split(call, count)
        {
            let queue = self.functions[function.0].lane_mut(lane);
            queue.push_front(depth, caller, rest);
        }
        self.functions[function.0]
            .lane_mut(lane)
            .charge(turn, count);
        self.leave_queue(call);
        let loan = self.calls[call.index].payload.loan();
        let target = &mut self.workers[worker];
        let ticket = target.next_ticket;
        target.next_ticket += u64::from(count);
        target.accepted += u64::from(count);
        target.outstanding.push(Inflight {
            ticket,
            count,
            call: Some(call),
            sent: now,
            slow: false,
            stop: None,
            withdrawn: None,
            grace: None,
            loan,
        });
        let entry = &mut self.calls[call.index];
        entry.state = CallState::Sent { worker, ticket };
        let attempt = entry.attempt;
        if entry.deadline.is_none() && entry.deadline_begins_when_sent {
            self.begin_deadline(call, now);
        }
        let entry = &self.calls[call.index];
        if let Some(timeout) = entry.terms.policy.timeout {
            // Attempts that take long are published after half of it.
            let limit = if self.is_observed() {
                timeout / 2
            } else {
                timeout
            };
            if let Some(at) = now.checked_add(limit) {
                self.arm_probe(worker, at);
            }
        }
        self.actions.push_back(Action::Send {
            worker,
            ticket,
            call,
            attempt,
        });
        self.arm_measure(now, worker);
        self.publish_start(now, call, worker);
        count
    }

    /// Recalls the inputs that wait behind the busiest worker if another worker is idle.
    pub(super) fn steal(&mut self, function: FunctionKey) {
        let state = &self.functions[function.0];
        let (max_workers, at_once) = (state.policy.max_workers, state.policy.at_once);
        let (index, counts) = self.index(function);
        if counts.idle > 0
            && counts.behind > 0
            && counts.allows(max_workers, false)
            && let Some((load, victim)) = index.most()
            && load > at_once
            && !self.look_for_turn(function, Lane::Any)
        {
            self.recall(victim);
        }
    }

    pub(super) fn recall(&mut self, key: WorkerKey) {
        if let Some(worker) = self.worker_mut(key)
            && worker.phase == Phase::Ready
            && !worker.outstanding.is_empty()
            && !worker.recall_pending
        {
            worker.recall_pending = true;
            self.actions.push_back(Action::Recall { worker: key });
        }
    }

    pub(super) fn retire(&mut self, now: Instant, key: WorkerKey) {
        if let Some(worker) = self.worker_mut(key)
            && worker.phase == Phase::Ready
        {
            worker.phase = Phase::Retiring;
            self.actions.push_back(Action::Retire { worker: key });
            if let Some(at) = now.checked_add(TEAR_DOWN) {
                self.arm(at, Timer::TearDown(key));
            }
        }
    }

    pub(super) fn retire_when_used_up(&mut self, now: Instant, key: WorkerKey) {
        if let Some(worker) = self.worker(key) {
            let policy = &self.functions[worker.function.0].policy;
            if worker.outstanding.is_empty()
                && worker.children.is_empty()
                && worker.remaining(policy) == 0
            {
                self.retire(now, key);
            }
        }
    }

    pub(super) fn check_idle(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        worker.idle_timer = false;
        if worker.phase != Phase::Ready || worker.is_busy() {
            return;
        }
        let (idle_since, function) = (worker.idle_since, worker.function);
        let (_, counts) = self.index(function);
        let policy = &self.functions[function.0].policy;
        if now.saturating_duration_since(idle_since) < policy.scaledown_window {
            self.arm_idle(key);
        } else if counts.alive > policy.min_workers {
            self.retire(now, key);
        }
    }

    pub(super) fn arm_idle(&mut self, key: WorkerKey) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        if worker.idle_timer || worker.phase != Phase::Ready || worker.is_busy() {
            return;
        }
        let window = self.functions[worker.function.0].policy.scaledown_window;
        if let Some(at) = worker.idle_since.checked_add(window) {
            self.workers[key].idle_timer = true;
            self.arm(at, Timer::Idle(key));
        }
    }
}
