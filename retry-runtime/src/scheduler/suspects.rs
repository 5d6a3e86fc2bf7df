//! Finding out which of several inputs makes its worker crash.
//!
//! Several async inputs or those of a batch are executed at once, and of a crash it is not known which
//! of them caused it. All of them are suspects then. Each is executed again in a worker that has nothing
//! else to do, before other inputs. The one that crashes alone is the culprit: it is charged with both
//! crashes, and the other suspects of that crash are executed as before. An input that does not crash
//! alone is charged with nothing.
//!
//! A culprit goes to the back of the queue, so that inputs that do not crash come first. It is never
//! executed with others again.

use std::time::Instant;

use super::function::Lane;
use super::{Call, FunctionKey, Past, Scheduler, State};
use crate::api::failure::ExitCause;
use crate::job::parts::Parts;

/// The crash of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crashed {
    /// The worker's number.
    pub(super) worker: u64,
    pub(super) cause: ExitCause,
    /// The number of inputs that it was executing.
    pub(super) executing: usize,
}

/// The part that a call had in past crashes, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspicion {
    #[default]
    None,
    /// It was executing with others when the worker with this number crashed.
    Suspect { worker: u64 },
    /// It was executing alone when its worker crashed.
    Culprit,
}

impl Past {
    /// Draws the conclusions from a crash. A call that was executing alone is charged with it, and is
    /// executed alone from now on if it might have had company. Returns the number of the worker of
    /// whose crash it is found to be the culprit.
    pub(super) fn crashed(&mut self, crashed: Crashed, may_have_company: bool) -> Option<u64> {
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

    /// Clears a suspect, which has come to an end alone without a crash.
    pub(super) fn ended_alone(&mut self) {
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

    /// Returns whether it is executed alone, and before others.
    pub(super) fn is_suspect(&self) -> bool {
        matches!(self.suspicion(), Suspicion::Suspect { .. })
    }
}

impl<P: Parts> Scheduler<P> {
    /// Hands a suspect to a worker that has nothing to do, which is given nothing else meanwhile. Returns
    /// whether it did.
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
        // One that has something to do is kept free for it, unless another one is about to be.
        let is_coming =
            counts.starting > 0 || counts.allows_another(max_workers, nested) && !self.is_full();
        let mut workers = self.workers_of(function).iter();
        if !is_coming && !workers.any(|key| self.workers[*key].is_reserved) {
            self.workers[key].is_reserved = true;
        }
        false
    }

    /// Executes the other suspects of a crash as before, since its culprit was found. Those that need a
    /// clean worker are left alone there.
    pub(super) fn acquit(&mut self, now: Instant, function: FunctionKey, worker: u64) {
        let acquitted = Suspicion::Suspect { worker };
        let suspects = std::mem::take(self.functions[function.0].lane(Lane::Alone));
        for key in suspects.drain() {
            let Some(call) = self.call_mut(key) else {
                continue;
            };
            if call.state != State::Queued {
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
                    let suspects = self.functions[function.0].lane(Lane::Alone);
                    suspects.push_back(depth, caller, key);
                }
            }
        }
    }
}
