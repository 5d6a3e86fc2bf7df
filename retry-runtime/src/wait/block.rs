//! Blocks a thread on a future, without an async runtime.

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

/// A future that a thread can block on.
pub(crate) trait Wait: Future + Unpin {
    /// Helps the result along as long as there is patience, then parks where it will arrive, if there is
    /// such a place. Returns when the thread is woken, the time has come, or the thread has to park
    /// elsewhere.
    fn park(&mut self, _until: Option<Instant>, _waiter: &dyn Waiter, _spin: &mut Spin) {}
}

/// A reference, so that a large future need not be moved.
impl<W: Wait> Wait for &mut W {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        W::park(self, until, waiter, spin);
    }
}

/// A blocked thread, as its waker and the threads that deliver answers see it.
struct ThreadWaiter {
    thread: Thread,
    woken: AtomicBool,
    /// Where the thread is parked, if that is at a worker.
    source: Mutex<Option<Arc<dyn AnswerSource>>>,
}

impl ThreadWaiter {
    fn source(&self) -> MutexGuard<'_, Option<Arc<dyn AnswerSource>>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter for ThreadWaiter {
    fn set_parked_at(&self, source: Option<Arc<dyn AnswerSource>>) {
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
        // A thread that delivers its own answer need not be woken.
        if !self.woken.swap(true, Ordering::SeqCst) && self.thread.id() != thread::current().id() {
            if let Some(source) = &*self.source() {
                source.unpark();
            }
            self.thread.unpark();
        }
    }
}

/// The waker and the patience of a thread that blocks, kept for the next time.
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

/// A [`Wait`] without its type, so that the loop of a blocked thread is compiled once.
trait Pending {
    /// Polls the future, and returns whether it is ready.
    fn poll(&mut self, context: &mut Context<'_>) -> bool;

    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin);
}

struct Output<'a, W: Wait> {
    wait: &'a mut W,
    value: Option<W::Output>,
}

impl<W: Wait> Pending for Output<'_, W> {
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Poll::Ready(value) = Pin::new(&mut *self.wait).poll(context) {
            self.value = Some(value);
        }
        self.value.is_some()
    }

    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.wait.park(until, waiter, spin);
    }
}

/// Blocks until the future is ready or the time has come.
pub(crate) fn block_on_until<W: Wait>(until: Option<Instant>, wait: &mut W) -> Option<W::Output> {
    let mut output = Output { wait, value: None };
    block(until, &mut output);
    output.value
}

fn block(until: Option<Instant>, pending: &mut dyn Pending) {
    thread_local! {
        static PARKER: RefCell<Option<Parker>> = const { RefCell::new(None) };
    }
    // User code runs inside `poll`, and may block on another future: it finds no parker here. Nor does a thread that ends:
    // the drop of another local may call functions when this one is gone.
    let kept = PARKER.try_with(RefCell::take).ok().flatten();
    let mut parker = kept.unwrap_or_else(Parker::new);
    terminal::begin_wait();
    loop {
        parker.waiter.woken.store(false, Ordering::SeqCst);
        if pending.poll(&mut Context::from_waker(&parker.waker)) {
            break;
        }
        let mut spin = parker.patience.spin();
        pending.park(until, &*parker.waiter, &mut spin);
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
            // The result may have arrived in the meantime, however late this thread is.
            pending.poll(&mut Context::from_waker(&parker.waker));
            break;
        }
        parker.patience.learn(&spin);
    }
    let _ = PARKER.try_with(|kept| kept.replace(Some(parker)));
    terminal::end_wait();
}

/// Blocks until the future is ready.
pub(crate) fn block_on<W: Wait>(mut wait: W) -> W::Output {
    block_on_until(None, &mut wait).expect("without a time limit it waits for the result")
}
