//! Waiting for answers: spinning, parking and waking. `wait/README.md` describes the states of a waiting
//! thread and of a ring, and why no wake-up is lost.

pub(crate) mod block;
pub(crate) mod end;
pub(crate) mod spin;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// The place where the answers of one worker arrive. A thread that waits for one may take it in there itself,
/// and park there until it comes.
pub(crate) trait AnswerSource: Any + Send + Sync {
    /// Says that this thread is about to look for answers, so that the worker need not wake another one
    /// for them. The thread has to look then, or to have it done.
    fn announce_poll(&self);

    /// Wakes the thread that is parked here, or is about to be.
    fn unpark(&self);
}

/// A thread that waits for an answer.
pub(crate) trait Waiter {
    /// Notes where the thread is parked, so that it can be woken there; `None` when it is not any more.
    fn set_parked_at(&self, source: Option<Arc<dyn AnswerSource>>);

    /// Returns whether the thread was woken.
    fn is_woken(&self) -> bool;
}

/// Returns whether a waiting thread was woken, or its time has come.
pub(crate) fn is_over(waiter: &dyn Waiter, until: Option<Instant>) -> bool {
    waiter.is_woken() || until.is_some_and(|until| until <= Instant::now())
}
