//! How outcomes reach those who wait for them.

use std::cell::Cell;
use std::mem::{replace, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::engine::Job;
use crate::map::Shared;
use crate::nested::Downstream;
use crate::pool::{Inlet, Sleeper};
use crate::scheduler::Outcome;

/// Where an outcome goes.
#[derive(Clone)]
pub(crate) enum Sink {
    /// To the one who waits for a single call.
    Slot(Arc<Slot>),
    /// To a map.
    Map(Arc<Shared>),
    /// To the worker that made the call, under the number it gave it.
    Nested(Arc<Downstream>, u32),
}

impl Sink {
    /// Whether it is this map.
    pub(crate) fn is_of(&self, map: &Arc<Shared>) -> bool {
        matches!(self, Self::Map(other) if Arc::ptr_eq(other, map))
    }
}

/// A place for one outcome.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Waiting>);

/// A thread that waits for it for a moment: whoever else fills it need not wake the thread.
impl Sleeper for Slot {
    fn goes_to_bed(&self, _: Option<Arc<Inlet>>) {}

    fn is_woken(&self) -> bool {
        matches!(*self.lock(), Waiting::Outcome(_))
    }
}

#[derive(Default)]
enum Waiting {
    /// Nobody, so far.
    #[default]
    Nobody,
    /// Nobody, and perhaps for long.
    NobodyForLong,
    For(Waker),
    /// Nobody has to any more.
    Outcome(Outcome),
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome may have to be kept for long: what it was part of is not to be kept with it.
    pub(crate) fn keeps(&self) {
        match &mut *self.lock() {
            Waiting::Outcome(outcome) => outcome.settle(),
            waiting => *waiting = Waiting::NobodyForLong,
        }
    }

    pub(crate) fn fill(&self, mut outcome: Outcome) {
        let mut waiting = self.lock();
        if matches!(*waiting, Waiting::NobodyForLong) {
            outcome.settle();
        }
        let before = replace(&mut *waiting, Waiting::Outcome(outcome));
        drop(waiting);
        if let Waiting::For(waker) = before {
            wake(waker);
        }
    }

    pub(crate) fn try_take(&self) -> Option<Outcome> {
        let mut waiting = self.lock();
        match take(&mut *waiting) {
            Waiting::Outcome(outcome) => Some(outcome),
            other => {
                *waiting = other;
                None
            }
        }
    }

    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<Outcome> {
        let mut waiting = self.lock();
        match take(&mut *waiting) {
            Waiting::Outcome(outcome) => return Poll::Ready(outcome),
            Waiting::For(known) if known.will_wake(waker) => *waiting = Waiting::For(known),
            _ => *waiting = Waiting::For(waker.clone()),
        }
        Poll::Pending
    }
}

/// Wakes whoever waits. That is the caller's executor: if it panics, that is its own affair, and
/// no reason for this thread to end.
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

thread_local! {
    /// Whether this thread is giving out outcomes.
    static DELIVERS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is giving out outcomes, and may hold what it needs to look for them. A waker
/// may go on with what it wakes at once.
pub(crate) fn is_under_way() -> bool {
    DELIVERS.with(Cell::get)
}

/// Gives outcomes to those who wait for them, taking each map's lock once per run of its own.
pub(crate) fn deliver(outcomes: &mut Vec<(Job, Outcome)>) {
    if outcomes.is_empty() {
        return;
    }
    let delivered = DELIVERS.replace(true);
    give_out(outcomes);
    DELIVERS.set(delivered);
}

fn give_out(outcomes: &mut Vec<(Job, Outcome)>) {
    let mut outcomes = outcomes.drain(..).peekable();
    while let Some((job, outcome)) = outcomes.next() {
        match job.sink {
            Sink::Slot(slot) => slot.fill(outcome),
            Sink::Nested(worker, number) => worker.send(number, outcome),
            Sink::Map(map) => {
                let mut delivery = map.delivery();
                delivery.put(job.index, &job.input, outcome);
                while let Some((job, outcome)) = outcomes.next_if(|(job, _)| job.sink.is_of(&map)) {
                    delivery.put(job.index, &job.input, outcome);
                }
                delivery.finish();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::context::CallId;
    use crate::parcel::Parcel;

    #[test]
    fn a_small_result_that_nobody_takes_yet_does_not_keep_what_it_came_in() {
        for is_filled_first in [false, true] {
            let mut buffer = BytesMut::with_capacity(32 * 1024);
            buffer.extend_from_slice(b"value");
            let outcome = Outcome {
                call: CallId(1),
                result: Ok(Parcel::One(buffer.split().freeze())),
                history: None,
            };
            let slot = Slot::default();
            if is_filled_first {
                slot.fill(outcome);
                assert!(!buffer.try_reclaim(32 * 1024));
                slot.keeps();
            } else {
                slot.keeps();
                slot.fill(outcome);
            }
            assert!(buffer.try_reclaim(32 * 1024));
            let value = slot.try_take().unwrap().result.unwrap();
            assert_eq!(value.into_one(), "value");
        }
    }
}
