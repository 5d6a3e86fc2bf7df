//! Suspects: finding out which of several inputs crashes its worker.
//!
//! Several async inputs, or the inputs of a batch, execute at once, and a crash does not show which
//! of them caused it. All of them become suspects. The scheduler executes each suspect again in a
//! worker that has nothing else to do, before other inputs. The suspect that crashes alone is the
//! culprit: it is charged with both crashes, and the other suspects of that crash are executed as
//! before. An input that does not crash alone is charged with nothing.
//!
//! A culprit goes to the back of the queue, so that inputs that do not crash come first. It is
//! never executed with others again.

use std::time::Instant;

use super::function::Lane;
use super::{Call, CallState, FunctionKey, Past, Scheduler};
use crate::job::parts::Parts;

/// The crash of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crashed {
    /// The worker's number.
    pub(super) worker: u64,
    /// The number of inputs that it was executing.
    pub(super) executing: usize,
}

/// The part that a call had in past crashes, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspicion {
    #[default]
    None,
    /// The call was executing with others when the worker with this number crashed.
    Suspect { worker: u64 },
    /// The call was executing alone when its worker crashed.
    Culprit,
}

impl Past {
    /// Updates the suspicion after a crash. A call that was executing alone is charged with it, and
    /// is executed alone from now on if it might have run with others. Returns the number of the
    /// worker whose earlier crash this proves the call to have caused.
    pub(super) fn record_crash(&mut self, crashed: Crashed, may_have_company: bool) -> Option<u64> {
        if crashed.executing > 1 {
            let worker = crashed.worker;
            self.suspicion = Suspicion::Suspect { worker };
            return None;
        }
        self.crashes += 1;
        let suspicion = std::mem::take(&mut self.suspicion);
        if may_have_company {
            self.suspicion = Suspicion::Culprit;
        }
        match suspicion {
            Suspicion::Suspect { worker } => {
                self.crashes += 1;
                Some(worker)
            }
            Suspicion::None | Suspicion::Culprit => None,
        }
    }

    /// Clears a suspect that has ended without a crash while it ran alone.
    pub(super) fn clear_suspicion(&mut self) {
        if matches!(self.suspicion, Suspicion::Suspect { .. }) {
            self.suspicion = Suspicion::None;
        }
    }
}

impl<P> Call<P> {
    pub(super) fn suspicion(&self) -> Suspicion {
        let past = self.past.as_ref();
        past.map_or(Suspicion::None, |past| past.suspicion)
    }

    /// Returns whether the call is a suspect, which is executed alone and before others.
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self.suspicion(), Suspicion::Suspect { .. })
    }
}

impl<P: Parts> Scheduler<P> {
    /// Sends a suspect to an idle worker, which is given nothing else meanwhile. Returns whether it
    /// did.
    pub(super) fn hand_out_suspect(&mut self, now: Instant, function: FunctionKey) -> bool {
        if self.functions[function.0].alone_queue.is_empty() {
            return false;
        }
        let Some(turn) = self.next_turn(function, Lane::Alone) else {
            return false;
        };
        let other = self.next_turn(function, Lane::Any);
        if other.is_some_and(|other| other.depth > turn.depth) {
            return false;
        }
        let nested = turn.depth > 0;
        let max_workers = self.functions[function.0].policy.max_workers;
        let (index, counts) = self.index(function);
        let Some((load, key)) = index.least(counts.allows(max_workers, nested)) else {
            return false;
        };
        if load == 0 {
            self.send_next(now, key, Lane::Alone, turn, 1);
            self.workers[key].is_reserved = true;
            return true;
        }
        // Reserve a busy worker, so that it becomes idle, unless another one is starting or already
        // reserved.
        let is_coming =
            counts.starting > 0 || counts.allows_another(max_workers, nested) && !self.is_full();
        let mut workers = self.workers_of(function).iter();
        if !is_coming && !workers.any(|key| self.workers[*key].is_reserved) {
            self.workers[key].is_reserved = true;
        }
        false
    }

    /// Clears the other suspects of a crash whose culprit was found, so that they are executed as
    /// before. Those that need a clean worker stay in that queue.
    pub(super) fn acquit(&mut self, now: Instant, function: FunctionKey, worker: u64) {
        let acquitted = Suspicion::Suspect { worker };
        let suspects = std::mem::take(self.functions[function.0].lane_mut(Lane::Alone));
        for key in suspects.drain() {
            let Some(call) = self.call_mut(key) else {
                continue;
            };
            if call.state != CallState::Queued {
                continue;
            }
            let (depth, caller) = (call.depth, call.payload.caller());
            match &mut call.past {
                Some(past) if past.suspicion == acquitted => {
                    past.suspicion = Suspicion::None;
                    self.leave_queue(key);
                    self.enqueue_back(now, key);
                }
                _ => {
                    let suspects = self.functions[function.0].lane_mut(Lane::Alone);
                    suspects.push_back(depth, caller, key);
                }
            }
        }
    }
}
