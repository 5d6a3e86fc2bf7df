//! Waiting for a future without an async runtime.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::spin::{Patience, Spin};

/// What a thread can wait for.
pub(crate) trait Wait: Future + Unpin {
    /// Does something for the result to come, until there is `enough` or the patience is over.
    fn attend(&mut self, spin: &mut Spin, enough: &mut dyn FnMut() -> bool) {
        while !enough() && spin.goes_on() {}
    }
}

/// Unparks a thread.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            // A thread that looks for itself need not be woken.
            if self.thread.id() != thread::current().id() {
                self.thread.unpark();
            }
        }
    }
}

/// What a thread needs to wait, kept for the next time.
struct Waiter {
    unpark: Arc<Unpark>,
    waker: Waker,
    patience: Patience,
}

impl Waiter {
    fn new() -> Self {
        let unpark = Arc::new(Unpark {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        });
        Self {
            waker: Waker::from(Arc::clone(&unpark)),
            unpark,
            patience: Patience::new(),
        }
    }

    fn is_woken(&self) -> bool {
        self.unpark.woken.load(Ordering::Acquire)
    }
}

/// Waits until there is something or the time has come.
pub(crate) fn block_on_until<W: Wait>(until: Option<Instant>, wait: &mut W) -> Option<W::Output> {
    thread_local! {
        static WAITER: RefCell<Option<Waiter>> = const { RefCell::new(None) };
    }
    // User code runs inside `poll`, and may block on something of its own: it finds none here.
    let mut waiter = WAITER.take().unwrap_or_else(Waiter::new);
    let result = loop {
        waiter.unpark.woken.store(false, Ordering::Release);
        let mut context = Context::from_waker(&waiter.waker);
        if let Poll::Ready(value) = Pin::new(&mut *wait).poll(&mut context) {
            break Some(value);
        }
        let mut spin = waiter.patience.spin();
        wait.attend(&mut spin, &mut || waiter.is_woken());
        let mut late = false;
        while !late && !waiter.is_woken() {
            match until {
                None => thread::park(),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    late = left.is_zero();
                    thread::park_timeout(left);
                }
            }
        }
        if late {
            break None;
        }
        waiter.patience.learn(&spin);
    };
    WAITER.set(Some(waiter));
    result
}

/// Waits until there is something.
pub(crate) fn block_on<W: Wait>(mut wait: W) -> W::Output {
    block_on_until(None, &mut wait).expect("it only gives up when it is told to")
}
