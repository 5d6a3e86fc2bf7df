//! Waiting for a future without an async runtime.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a thread stays awake for what it waits for.
const SOON: Duration = Duration::from_micros(40);

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
            self.thread.unpark();
        }
    }
}

/// Polls until there is something or the time has come.
pub(crate) fn block_on_until<T>(
    until: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    thread_local! {
        static WAKER: RefCell<Option<(Arc<Unpark>, Waker)>> = const { RefCell::new(None) };
    }
    // User code runs inside `poll`, and may block on something of its own: it finds none here.
    let (unpark, waker) = WAKER.take().unwrap_or_else(|| {
        let unpark = Arc::new(Unpark {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        });
        (Arc::clone(&unpark), Waker::from(unpark))
    });
    let mut context = Context::from_waker(&waker);
    let result = loop {
        unpark.woken.store(false, Ordering::Release);
        if let Poll::Ready(value) = poll(&mut context) {
            break Some(value);
        }
        let mut late = false;
        // A result that comes soon is not worth the sleep: waking up again takes longer than the
        // whole call. Yielding leaves the core to whoever can use it.
        let patient = Instant::now() + SOON;
        while !unpark.woken.load(Ordering::Acquire) && Instant::now() < patient {
            thread::yield_now();
        }
        while !late && !unpark.woken.load(Ordering::Acquire) {
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
    };
    WAKER.set(Some((unpark, waker)));
    result
}

/// Polls until there is something.
pub(crate) fn block_on<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    block_on_until(None, poll).expect("it only gives up when it is told to")
}
