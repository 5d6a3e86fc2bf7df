//! How outcomes reach those who wait for them.

use std::cell::Cell;
use std::mem::{replace, take};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::engine::Job;
use crate::map::{self, Shared};
use crate::nested::Downstream;
use crate::pool::{Inlet, Sleeper};
use crate::scheduler::Outcome;
use crate::sys::{self, Mark};

/// Where an outcome goes.
#[derive(Clone)]
pub(crate) enum Sink {
    /// To the one who waits for a single call.
    Slot(Arc<Slot>),
    /// To the one who may wait for it some time.
    Kept(Arc<Slot>),
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
    For(Waker),
    /// Nobody has to any more.
    Outcome(Outcome),
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fill(&self, outcome: Outcome) {
        let waiting = replace(&mut *self.lock(), Waiting::Outcome(outcome));
        if let Waiting::For(waker) = waiting {
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

    /// Takes the outcome if it is there, without waiting for the lock: in a forked child it may be
    /// held by a thread that the child does not have.
    pub(crate) fn take_unlocked(&self) -> Option<Outcome> {
        let mut waiting = self.0.try_lock().ok()?;
        match take(&mut *waiting) {
            Waiting::Outcome(outcome) => Some(outcome),
            _ => None,
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

/// Calls a waker, which is code of the caller's executor. The thread that delivers survives its
/// panics. A child that the waker forks ends here, since everything that this thread would go on
/// with belongs to its parent.
pub(crate) fn wake(waker: Waker) {
    let mark = Mark::current();
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    if !mark.is_current() {
        sys::exit_now(0);
    }
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
    while let Some((job, mut outcome)) = outcomes.next() {
        match job.sink {
            Sink::Slot(slot) => slot.fill(outcome),
            Sink::Kept(slot) => {
                outcome.settle();
                slot.fill(outcome);
            }
            Sink::Nested(worker, number) => worker.send(number, outcome),
            Sink::Map(map) => {
                let mut delivery = map.delivery();
                delivery.put(job.index, &job.input, outcome);
                while let Some((job, outcome)) = outcomes.next_if(|(job, _)| job.sink.is_of(&map)) {
                    delivery.put(job.index, &job.input, outcome);
                }
                if delivery.finish() {
                    map::hold_back(&map);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::context::CallId;
    use crate::parcel::{Caller, Parcel};
    use crate::recycle::LARGE;
    use crate::scheduler::Failure;

    #[test]
    fn what_nobody_takes_yet_does_not_keep_what_it_came_in() {
        for length in [0, 1, LARGE - 1] {
            for succeeds in [false, true] {
                let mut buffer = BytesMut::with_capacity(2 * LARGE);
                buffer.resize(length, 7);
                let bytes = buffer.split().freeze();
                let outcome = Outcome {
                    call: CallId(1),
                    result: match succeeds {
                        true => Ok(Parcel::One(bytes)),
                        false => Err(Failure::Function(bytes)),
                    },
                    history: None,
                };
                let slot = Arc::new(Slot::default());
                let job = Job {
                    sink: Sink::Kept(Arc::clone(&slot)),
                    index: None,
                    input: Parcel::NONE,
                    caller: Caller::thread(),
                    method: 0,
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
