//! Retries after a panic, which run in workers in which nothing has panicked.
//!
//! A panic may leave a `Mutex`, a `LazyLock` or a worker's state broken, so that each further
//! attempt in that worker fails for this reason. The scheduler therefore queues a call that has
//! panicked separately, and sends it only to a clean worker that executes nothing else, since any
//! other input may panic there. A worker that executes several inputs at once is given only calls
//! of one kind. Of these, the ones that panic because another one has broken something there must
//! not fail for good: their first panic is not charged to the retry policy, and after the second
//! one they are executed alone. Other calls continue in workers in which something has panicked: a
//! function that panics often needs a new worker for its retries now and then, not one for each
//! panic.

use std::time::{Duration, Instant};

use super::function::Lane;
use super::suspects::Suspicion;
use super::{Call, CallKey, FunctionKey, Phase, Scheduler, Timer, Worker, WorkerKey};
use crate::job::parts::Parts;

/// The minimum time between two replacements of workers that are still busy. Retries that arrive in
/// between share the next worker.
const RENEWAL: Duration = Duration::from_millis(100);

impl Worker {
    /// Returns whether the worker can be replaced by a new one so that a retry gets a clean worker.
    /// A worker that waits for nested calls cannot end, so replacing it would not help.
    fn is_replaceable(&self) -> bool {
        self.panicked && self.phase == Phase::Ready && !self.used_up && self.children.is_empty()
    }
}

impl<P: Parts> Scheduler<P> {
    /// Marks a worker in which an attempt has panicked. Recalls its unclaimed inputs if it holds
    /// retries after panics.
    pub(super) fn mark_panicked(&mut self, key: WorkerKey) {
        self.workers[key].panicked = true;
        let needs_clean = |call| self.call(call).is_some_and(Call::needs_clean);
        let mut held = self.workers[key].outstanding.iter();
        let holds_such = held.any(|one| one.call.is_some_and(needs_clean));
        // The unclaimed retries must go to another worker.
        if holds_such {
            self.recall(key);
        }
    }

    /// Returns whether a panic of a call may only be the consequence of an earlier one in the same
    /// worker, and is not charged to the retry policy. A call without retries has none to lose.
    pub(super) fn excuses_panic(&self, key: WorkerKey, call: CallKey) -> bool {
        let worker = self.worker(key);
        worker.is_some_and(|worker| worker.panicked)
            && self.call(call).is_some_and(|call| {
                let policy = &self.functions[call.function.0].policy;
                policy.separable
                    && policy.at_once > 1
                    && call.terms.policy.retries.max_retries() > 0
                    && !call.needs_clean()
            })
    }

    /// Sends queued calls that need a clean worker, in which nothing has panicked.
    pub(super) fn hand_out_to_clean(&mut self, now: Instant, function: FunctionKey) {
        while let Some(turn) = self.next_turn(function, Lane::Clean) {
            let nested = turn.depth > 0;
            let call = self.functions[function.0].clean_queue.get(turn);
            let call = call.and_then(|key| self.call(key));
            let is_alone = call.is_some_and(|call| {
                call.suspicion() != Suspicion::None || call.needs_to_be_alone()
            });
            let free = self.free_clean_worker(function, nested);
            let is_free = |key: &WorkerKey| !is_alone || self.workers[*key].outstanding.is_empty();
            let Some(worker) = free.filter(is_free) else {
                return self.make_clean_worker(now, function, nested);
            };
            self.workers[worker].apart = self.functions[function.0].policy.at_once > 1;
            self.workers[worker].is_reserved = is_alone;
            self.send_next(now, worker, Lane::Clean, turn, 1);
        }
        self.keep(function, None);
    }

    /// Returns a clean worker that can execute such a call at once.
    fn free_clean_worker(&mut self, function: FunctionKey, nested: bool) -> Option<WorkerKey> {
        let (_, counts) = self.index(function);
        let policy = &self.functions[function.0].policy;
        // Several async calls may run at the same time, since a panic affects only the one that
        // panics.
        let at_once = if policy.separable { policy.at_once } else { 1 };
        let idle_allowed = counts.allows(policy.max_workers, nested);
        let load = |key: &WorkerKey| self.workers[*key].outstanding.inputs();
        let is_free = |key: &WorkerKey| {
            let worker = &self.workers[*key];
            let load = load(key);
            !worker.panicked
                && worker.takes_some_calls(policy)
                && if load == 0 {
                    idle_allowed
                } else {
                    worker.apart && load < at_once
                }
        };
        let keys = self.workers_of(function).iter().copied();
        keys.filter(is_free).min_by_key(load)
    }

    /// Makes sure that a clean worker becomes available: keeps a busy clean worker for these calls,
    /// waits for one that starts, or replaces a worker in which something has panicked.
    fn make_clean_worker(&mut self, now: Instant, function: FunctionKey, nested: bool) {
        let (_, counts) = self.index(function);
        let state = &self.functions[function.0];
        let policy = &state.policy;
        let keys = self.workers_of(function).iter().copied();
        let load = |key: &WorkerKey| self.workers[*key].outstanding.inputs();
        // A clean worker is given no other calls until it has answered the inputs that it has.
        let is_clean = |key: &WorkerKey| {
            let worker = self.worker(*key);
            worker.is_some_and(|worker| !worker.panicked && worker.takes_some_calls(policy))
        };
        let clean = state.kept.filter(is_clean);
        let clean = clean.or_else(|| keys.clone().filter(is_clean).min_by_key(load));
        let is_coming = counts.starting > 0
            || counts.allows_another(policy.max_workers, nested)
                && !self.is_full()
                && !state.starts.has_failed();
        let is_due = clean.is_none() && state.next_renewal.is_none_or(|next| next <= now);
        let replaced = keys
            .filter(|key| !is_coming && self.workers[*key].is_replaceable())
            .min_by_key(load)
            // Replacing an idle worker costs the other calls nothing.
            .filter(|key| is_due || load(key) == 0);
        let is_busy = replaced.is_some_and(|key| load(&key) > 0);
        // An idle worker is kept only if it may execute this call: the nested calls that the busy
        // workers wait for may need it.
        let is_allowed = counts.allows(policy.max_workers, nested);
        let kept = clean.filter(|key| is_allowed || load(key) > 0);
        self.keep(function, kept);
        if is_busy {
            let next = now + RENEWAL;
            self.functions[function.0].next_renewal = Some(next);
            self.arm(next, Timer::Start(function));
        }
        if let Some(key) = replaced {
            self.workers[key].used_up = true;
            self.recall(key);
            self.retire_when_used_up(now, key);
        }
    }

    /// Reserves a worker of a function for calls that need a clean one, or none, and releases the
    /// worker that was reserved before.
    fn keep(&mut self, function: FunctionKey, worker: Option<WorkerKey>) {
        let kept = &mut self.functions[function.0].kept;
        if *kept == worker {
            return;
        }
        let before = std::mem::replace(kept, worker);
        if let Some(before) = before.and_then(|key| self.worker_mut(key)) {
            before.kept = false;
        }
        if let Some(key) = worker {
            self.workers[key].kept = true;
            self.recall(key);
        }
    }
}
