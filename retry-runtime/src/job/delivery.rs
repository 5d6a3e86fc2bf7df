//! How outcomes reach those who wait for them.

use std::cell::Cell;
use std::iter::Peekable;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::vec::Drain;

use super::Job;
use super::outcome::Outcome;
use crate::sys::{self, Mark};

/// Takes the outcomes of calls: a slot for a single call, the buffer of a map, or the connection to the
/// worker that has made the calls.
pub(crate) trait Deliver: Send + Sync {
    /// Takes outcomes that follow each other. It is called without any lock of the engine.
    fn deliver(self: Arc<Self>, outcomes: Run<'_, '_>);

    /// Returns whether there is room for further results.
    fn has_room(&self) -> bool {
        true
    }
}

/// Returns whether both are one.
pub(crate) fn is_same(one: &Arc<dyn Deliver>, other: &Arc<dyn Deliver>) -> bool {
    // The addresses alone: one type may have several tables of methods.
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

/// The outcomes of successive calls that go to the same place, with their jobs.
pub(crate) struct Run<'a, 'b> {
    first: Option<(Job, Outcome)>,
    others: &'a mut Peekable<Drain<'b, (Job, Outcome)>>,
    target: *const (),
}

impl Iterator for Run<'_, '_> {
    type Item = (Job, Outcome);

    fn next(&mut self) -> Option<(Job, Outcome)> {
        let target = self.target;
        let is_next =
            |(job, _): &(Job, Outcome)| std::ptr::addr_eq(Arc::as_ptr(&job.target), target);
        self.first.take().or_else(|| self.others.next_if(is_next))
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
    while let Some(first) = outcomes.next() {
        let target = Arc::clone(&first.0.target);
        let run = Run {
            target: Arc::as_ptr(&target).cast(),
            first: Some(first),
            others: &mut outcomes,
        };
        target.deliver(run);
    }
}
