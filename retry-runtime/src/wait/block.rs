//! Waiting for a future without an async runtime.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use super::{AnswerSource, Waiter};
use crate::terminal;
use crate::wait::spin::{Patience, Spin};

/// What a thread can wait for.
pub(crate) trait Wait: Future + Unpin {
    /// Does something for the result to come as long as there is patience, and sleeps where it will
    /// arrive if there is such a place: until the thread is woken, the time has come, or there is
    /// nothing left to do but to sleep elsewhere.
    fn park(&mut self, _until: Option<Instant>, _waiter: &dyn Waiter, _spin: &mut Spin) {}
}

/// Where it is: what is large need not be moved.
impl<W: Wait> Wait for &mut W {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        W::park(self, until, waiter, spin);
    }
}

/// Unparks a thread.
struct ThreadWaiter {
    thread: Thread,
    woken: AtomicBool,
    /// Where it sleeps, if it is not parked.
    source: Mutex<Option<Arc<dyn AnswerSource>>>,
}

impl ThreadWaiter {
    fn source(&self) -> MutexGuard<'_, Option<Arc<dyn AnswerSource>>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter for ThreadWaiter {
    fn parks_at(&self, source: Option<Arc<dyn AnswerSource>>) {
        *self.source() = source;
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for ThreadWaiter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A thread that looks for itself need not be woken.
        if !self.woken.swap(true, Ordering::SeqCst) && self.thread.id() != thread::current().id() {
            if let Some(source) = &*self.source() {
                source.unpark();
            }
            self.thread.unpark();
        }
    }
}

/// What a thread needs to wait, kept for the next time.
struct Parker {
    waiter: Arc<ThreadWaiter>,
    waker: Waker,
    patience: Patience,
}

impl Parker {
    fn new() -> Self {
        let waiter = Arc::new(ThreadWaiter {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            source: Mutex::new(None),
        });
        Self {
            waker: Waker::from(Arc::clone(&waiter)),
            waiter,
            patience: Patience::new(),
        }
    }

    fn is_woken(&self) -> bool {
        self.waiter.is_woken()
    }
}

/// Waits until there is something or the time has come.
pub(crate) fn block_on_until<W: Wait>(until: Option<Instant>, wait: &mut W) -> Option<W::Output> {
    thread_local! {
        static PARKER: RefCell<Option<Parker>> = const { RefCell::new(None) };
    }
    // User code runs inside `poll`, and may block on something of its own: it finds none here.
    let mut parker = PARKER.take().unwrap_or_else(Parker::new);
    terminal::program_waits();
    let result = loop {
        parker.waiter.woken.store(false, Ordering::SeqCst);
        let mut context = Context::from_waker(&parker.waker);
        if let Poll::Ready(value) = Pin::new(&mut *wait).poll(&mut context) {
            break Some(value);
        }
        let mut spin = parker.patience.spin();
        wait.park(until, &*parker.waiter, &mut spin);
        let mut late = false;
        while !late && !parker.is_woken() {
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
            // It may have come in the meantime, however late this thread is.
            let mut context = Context::from_waker(&parker.waker);
            break match Pin::new(&mut *wait).poll(&mut context) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            };
        }
        parker.patience.learn(&spin);
    };
    PARKER.set(Some(parker));
    terminal::program_goes_on();
    result
}

/// Waits until there is something.
pub(crate) fn block_on<W: Wait>(mut wait: W) -> W::Output {
    block_on_until(None, &mut wait).expect("it only gives up when it is told to")
}
