//! Waiting for a future without an async runtime.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::pool::{Inlet, Sleeper};
use crate::progress;
use crate::spin::{Patience, Spin};

/// What a thread can wait for.
pub(crate) trait Wait: Future + Unpin {
    /// Does something for the result to come as long as there is patience, and sleeps where it will
    /// arrive if there is such a place: until the thread is woken, the time has come, or there is
    /// nothing left to do but to sleep elsewhere.
    fn rest(&mut self, _until: Option<Instant>, _sleeper: &dyn Sleeper, _spin: &mut Spin) {}
}

/// Where it is: what is large need not be moved.
impl<W: Wait> Wait for &mut W {
    fn rest(&mut self, until: Option<Instant>, sleeper: &dyn Sleeper, spin: &mut Spin) {
        W::rest(self, until, sleeper, spin);
    }
}

/// Unparks a thread.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
    /// Where it sleeps, if it is not parked.
    bed: Mutex<Option<Arc<Inlet>>>,
}

impl Unpark {
    fn bed(&self) -> MutexGuard<'_, Option<Arc<Inlet>>> {
        self.bed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleeper for Unpark {
    fn goes_to_bed(&self, inlet: Option<Arc<Inlet>>) {
        *self.bed() = inlet;
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A thread that looks for itself need not be woken.
        if !self.woken.swap(true, Ordering::SeqCst) && self.thread.id() != thread::current().id() {
            if let Some(inlet) = &*self.bed() {
                inlet.rouse();
            }
            self.thread.unpark();
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
            bed: Mutex::new(None),
        });
        Self {
            waker: Waker::from(Arc::clone(&unpark)),
            unpark,
            patience: Patience::new(),
        }
    }

    fn is_woken(&self) -> bool {
        self.unpark.is_woken()
    }
}

/// Waits until there is something or the time has come.
pub(crate) fn block_on_until<W: Wait>(until: Option<Instant>, wait: &mut W) -> Option<W::Output> {
    thread_local! {
        static WAITER: RefCell<Option<Waiter>> = const { RefCell::new(None) };
    }
    // User code runs inside `poll`, and may block on something of its own: it finds none here.
    let mut waiter = WAITER.take().unwrap_or_else(Waiter::new);
    progress::program_waits();
    let result = loop {
        waiter.unpark.woken.store(false, Ordering::SeqCst);
        let mut context = Context::from_waker(&waiter.waker);
        if let Poll::Ready(value) = Pin::new(&mut *wait).poll(&mut context) {
            break Some(value);
        }
        let mut spin = waiter.patience.spin();
        wait.rest(until, &*waiter.unpark, &mut spin);
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
            // It may have come in the meantime, however late this thread is.
            let mut context = Context::from_waker(&waiter.waker);
            break match Pin::new(&mut *wait).poll(&mut context) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            };
        }
        waiter.patience.learn(&spin);
    };
    WAITER.set(Some(waiter));
    progress::program_goes_on();
    result
}

/// Waits until there is something.
pub(crate) fn block_on<W: Wait>(mut wait: W) -> W::Output {
    block_on_until(None, &mut wait).expect("it only gives up when it is told to")
}
