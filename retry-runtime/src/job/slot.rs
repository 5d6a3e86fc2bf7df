//! A place where one outcome waits for its caller, or its caller for it.

use std::mem::{replace, take};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::delivery::{Deliver, Outcomes, wake};
use super::outcome::Outcome;
use crate::wait::{AnswerSource, Waiter};

/// A place for one outcome.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    /// `true` if the outcome may stay here for a long time before it is taken.
    keeps: bool,
}

/// Makes the slot its own waiter: a thread that polls for the outcome checks the slot itself, so filling it
/// need not wake that thread.
impl Waiter for Slot {
    fn set_parked_at(&self, _: Option<Arc<dyn AnswerSource>>) {}

    fn is_woken(&self) -> bool {
        matches!(*self.lock(), SlotState::Outcome(_))
    }
}

#[derive(Default)]
enum SlotState {
    /// The slot is empty, and nothing waits for the outcome yet.
    #[default]
    Nobody,
    For(Waker),
    /// The slot is full: nothing has to wait any more.
    Outcome(Outcome),
}

impl Slot {
    /// Creates a slot whose outcome may be taken at any time, or never.
    pub(crate) fn keeping() -> Self {
        Self {
            keeps: true,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fill(&self, mut outcome: Outcome) {
        if self.keeps {
            outcome.detach();
        }
        let state = replace(&mut *self.lock(), SlotState::Outcome(outcome));
        if let SlotState::For(waker) = state {
            wake(waker);
        }
    }

    pub(crate) fn try_take(&self) -> Option<Outcome> {
        let mut state = self.lock();
        match take(&mut *state) {
            SlotState::Outcome(outcome) => Some(outcome),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Takes the outcome if it is there, without blocking on the lock: in a forked child the lock may be held
    /// by a thread that does not exist there.
    pub(crate) fn take_unlocked(&self) -> Option<Outcome> {
        let mut state = self.state.try_lock().ok()?;
        match take(&mut *state) {
            SlotState::Outcome(outcome) => Some(outcome),
            _ => None,
        }
    }

    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<Outcome> {
        let mut state = self.lock();
        match take(&mut *state) {
            SlotState::Outcome(outcome) => return Poll::Ready(outcome),
            SlotState::For(known) if known.will_wake(waker) => *state = SlotState::For(known),
            _ => *state = SlotState::For(waker.clone()),
        }
        Poll::Pending
    }
}

impl Deliver for Slot {
    fn deliver(self: Arc<Self>, outcomes: Outcomes<'_, '_>) {
        for (_, outcome) in outcomes {
            self.fill(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::api::call_id::CallNumber;
    use crate::codec::buffers::LARGE;
    use crate::codec::payload::Payload;
    use crate::job::Job;
    use crate::job::caller::Caller;
    use crate::job::delivery::deliver;
    use crate::job::outcome::Failure;

    #[test]
    fn a_kept_outcome_detaches_from_its_buffer() {
        for length in [0, 1, LARGE - 1] {
            for succeeds in [false, true] {
                let mut buffer = BytesMut::with_capacity(2 * LARGE);
                buffer.resize(length, 7);
                let bytes = buffer.split().freeze();
                let outcome = Outcome {
                    call: CallNumber(1),
                    result: match succeeds {
                        true => Ok(Payload::One(bytes)),
                        false => Err(Failure::Function(bytes)),
                    },
                    history: None,
                };
                let slot = Arc::new(Slot::keeping());
                let job = Job {
                    target: Arc::clone(&slot) as Arc<dyn Deliver>,
                    number: 0,
                    index: None,
                    input: Payload::NONE,
                    objects: crate::shared::Objects::NONE,
                    caller: Caller::thread(),
                    method: 0,
                    spans: crate::spans::Context::default(),
                };
                deliver(&mut vec![(job, outcome)]);
                assert!(buffer.try_reclaim(2 * LARGE));
                let bytes = match slot.try_take().unwrap().result {
                    Ok(value) => value.into_one(),
                    Err(Failure::Function(error)) => error,
                    Err(other) => panic!("{other:?}"),
                };
                assert_eq!(bytes, vec![7; length]);
            }
        }
    }
}
