//! Delivers outcomes to their targets.

use std::cell::Cell;
use std::iter::Peekable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::vec::Drain;

use super::Job;
use super::outcome::Outcome;
use crate::sys::{self, Mark};

/// The target of outcomes: a slot for a single call, the buffer of a map, or the connection to the worker
/// that made the calls.
pub(crate) trait Deliver: Send + Sync {
    /// Takes successive outcomes. The engine calls this without holding any of its locks.
    fn deliver(self: Arc<Self>, outcomes: Outcomes<'_, '_>);

    /// Returns whether there is room for further results.
    fn has_room(&self) -> bool {
        true
    }
}

/// Returns whether both are the same target.
pub(crate) fn is_same(one: &Arc<dyn Deliver>, other: &Arc<dyn Deliver>) -> bool {
    // Compare the addresses only: one type may have several vtables.
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

/// The outcomes of successive calls that go to the same target, with their jobs.
pub(crate) struct Outcomes<'a, 'b> {
    first: Option<(Job, Outcome)>,
    others: &'a mut Peekable<Drain<'b, (Job, Outcome)>>,
    target: *const (),
}

impl Iterator for Outcomes<'_, '_> {
    type Item = (Job, Outcome);

    fn next(&mut self) -> Option<(Job, Outcome)> {
        let target = self.target;
        let is_next =
            |(job, _): &(Job, Outcome)| std::ptr::addr_eq(Arc::as_ptr(&job.target), target);
        self.first.take().or_else(|| self.others.next_if(is_next))
    }
}

/// Calls a waker, which is code of the caller's executor. A panic there does not harm the thread that
/// delivers. If the waker forks, the child exits here, since everything that this thread would do next
/// belongs to the parent.
pub(crate) fn wake(waker: Waker) {
    let mark = Mark::current();
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    if !mark.is_current() {
        sys::exit_now(0);
    }
}

thread_local! {
    /// True while this thread is delivering outcomes.
    static DELIVERS: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether this thread is delivering outcomes. It may then hold what polling for answers needs: a
/// waker may run the task that it wakes at once.
pub(crate) fn is_under_way() -> bool {
    DELIVERS.with(Cell::get)
}

/// Delivers outcomes to their targets. Locks each map once per run of its own outcomes.
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
    while let Some(first) = outcomes.next() {
        let target = Arc::clone(&first.0.target);
        let run = Outcomes {
            target: Arc::as_ptr(&target).cast(),
            first: Some(first),
            others: &mut outcomes,
        };
        target.deliver(run);
    }
}
