//! How outcomes reach those who wait for them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
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
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.outcome.is_some()
    }
}

#[derive(Default)]
struct Waiting {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Slot {
    pub(crate) fn fill(&self, outcome: Outcome) {
        let waker = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.outcome = Some(outcome);
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    pub(crate) fn try_take(&self) -> Option<Outcome> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .outcome
            .take()
    }

    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<Outcome> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                if !waiting
                    .waker
                    .as_ref()
                    .is_some_and(|known| known.will_wake(waker))
                {
                    waiting.waker = Some(waker.clone());
                }
                Poll::Pending
            }
        }
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
