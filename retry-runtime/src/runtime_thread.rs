//! Tells whether a thread drives an async runtime, which a blocking call would keep from doing so.
//!
//! tokio knows this, but says it only by a panic (`Handle::block_on` and others). It shows in two ways,
//! neither of which gives a false alarm:
//!
//! - While tokio polls a future, that poll has a budget. On a thread of `spawn_blocking`, inside
//!   `block_in_place`, and on a thread that has merely entered a runtime, there is none.
//! - A task that yields is woken later by the scheduler of its thread, and at once where there is none.
//!
//! A budget without a task is that of `block_on`: the thread drives a runtime. A budget with a task does not
//! suffice: a `LocalSet` gives one to its tasks, also where a worker's serving thread polls it, which may
//! block. So there the thread must have a scheduler as well.
//!
//! Not recognised are therefore the tasks of a `LocalSet` in `block_on` of a multi-threaded runtime;
//! `Handle::block_on` on a thread of `spawn_blocking`; what `tokio::task::unconstrained` polls; and in a
//! multi-threaded runtime the code between `block_in_place` and the next `.await`: in `block_on` always, in a task
//! if another thread has taken over what this one drove, so that it may block.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::Handle;
use tokio::task::{self, coop};

/// The number of steps that exceeds the budget of each poll in tokio.
const OVER_BUDGET: usize = 129;

/// Panics if this thread drives an async runtime, where `what` would block it. The message says to use
/// `instead`.
#[inline]
#[track_caller]
pub(crate) fn refuse(what: fmt::Arguments<'_>, instead: &str) {
    // Without a runtime there is nothing to drive. Most threads leave here.
    if Handle::try_current().is_ok() && is_driven_here() {
        panic!(
            "{what} would block a thread that drives an async runtime: write {instead} instead, or run the \
             blocking code in `tokio::task::spawn_blocking`"
        );
    }
}

/// Returns whether this thread drives a runtime. It has entered one.
fn is_driven_here() -> bool {
    if task::try_id().is_some() {
        has_scheduler() && has_budget()
    } else {
        has_budget()
    }
}

/// Returns whether tokio limits the steps of what runs here.
fn has_budget() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    // The first step restores the budget when it is dropped.
    let Poll::Ready(_restore) = coop::poll_proceed(&mut context) else {
        return true;
    };
    (1..OVER_BUDGET).any(|_| match coop::poll_proceed(&mut context) {
        Poll::Ready(step) => {
            step.made_progress();
            false
        }
        Poll::Pending => true,
    })
}

/// Returns whether a scheduler runs tasks on this thread.
fn has_scheduler() -> bool {
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let yielding = pin!(task::yield_now());
    let _ = yielding.poll(&mut Context::from_waker(&waker));
    !woken.0.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::runtime::{Builder, Runtime};
    use tokio::task::LocalSet;

    use super::*;

    fn is_refused() -> bool {
        Handle::try_current().is_ok() && is_driven_here()
    }

    fn one_thread() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    fn threads() -> Runtime {
        Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap()
    }

    #[test]
    fn a_thread_that_polls_for_a_runtime_is_recognised() {
        for runtime in [one_thread(), threads()] {
            let flavor = runtime.handle().runtime_flavor();
            assert!(runtime.block_on(async { is_refused() }), "{flavor:?}: root");
            // After a yield it is another poll.
            let later = async {
                task::yield_now().await;
                is_refused()
            };
            assert!(runtime.block_on(later), "{flavor:?}: root, later");
            let spawned = async { task::spawn(async { is_refused() }).await.unwrap() };
            assert!(runtime.block_on(spawned), "{flavor:?}: task");
            let local = LocalSet::new();
            let root = local.block_on(&runtime, async { is_refused() });
            assert!(root, "{flavor:?}: root in a local set");
        }
        let local = async { task::spawn_local(async { is_refused() }).await.unwrap() };
        assert!(LocalSet::new().block_on(&one_thread(), local));
    }

    #[test]
    fn a_thread_that_may_block_is_not() {
        assert!(!is_refused(), "no runtime");
        for runtime in [one_thread(), threads()] {
            let flavor = runtime.handle().runtime_flavor();
            let _entered = runtime.enter();
            assert!(!is_refused(), "{flavor:?}: entered");
            let blocking = async { task::spawn_blocking(is_refused).await.unwrap() };
            assert!(!runtime.block_on(blocking), "{flavor:?}: spawn_blocking");
            let other = runtime.block_on(async { thread::spawn(is_refused).join().unwrap() });
            assert!(!other, "{flavor:?}: another thread");
        }
        let runtime = threads();
        assert!(!runtime.block_on(async { task::block_in_place(is_refused) }));
        let in_task = async { task::block_in_place(is_refused) };
        assert!(!runtime.block_on(async { task::spawn(in_task).await.unwrap() }));
        let and_then = async {
            task::block_in_place(|| ());
            // Until then another thread may have taken over what this one drives, and it may block.
            task::yield_now().await;
            is_refused()
        };
        assert!(runtime.block_on(async { task::spawn(and_then).await.unwrap() }));
    }

    #[test]
    fn a_local_set_polled_by_other_means_may_block() {
        // As a worker does it: the thread has entered the runtime, and polls the tasks itself.
        let runtime = threads();
        let _entered = runtime.enter();
        let local = LocalSet::new();
        let mut both = pin!(local.run_until(async {
            let task = task::spawn_local(async { is_refused() });
            (is_refused(), task.await.unwrap())
        }));
        let mut context = Context::from_waker(Waker::noop());
        let refused = loop {
            if let Poll::Ready(refused) = both.as_mut().poll(&mut context) {
                break refused;
            }
        };
        assert_eq!(refused, (false, false));
    }

    #[test]
    fn the_budget_of_the_task_is_left_as_it_was() {
        let steps = || {
            let mut context = Context::from_waker(Waker::noop());
            let step = || match coop::poll_proceed(&mut context) {
                Poll::Ready(step) => {
                    step.made_progress();
                    Some(())
                }
                Poll::Pending => None,
            };
            std::iter::from_fn(step).count()
        };
        let (untouched, checked) = one_thread().block_on(async {
            let untouched = steps();
            task::yield_now().await;
            assert!(is_refused());
            (untouched, steps())
        });
        assert_eq!(untouched, checked);
        assert!(untouched < OVER_BUDGET);
    }
}
