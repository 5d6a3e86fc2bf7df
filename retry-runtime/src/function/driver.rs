//! Drives futures on a worker's serving thread.
//!
//! A tokio runtime with one thread of its own drives I/O and timers, and runs the tasks that user code
//! spawns. The serving thread polls the futures of its functions itself. That runtime is the current one
//! there, but the thread does not run inside it. So a function may block in place, build a runtime of its
//! own, or wait for a future with `Handle::block_on`, while the runtime's own thread keeps driving I/O.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{EnterGuard, Runtime};
use tokio::task::{LocalEnterGuard, LocalSet};

use crate::sys::{Bell, Mark, OwnedFd, exit_if_forked};

thread_local! {
    static DRIVER: RefCell<Option<Rc<Driver>>> = const { RefCell::new(None) };
}

/// Drives the futures of one thread.
pub(crate) struct Driver {
    /// The tasks that stay on this thread. They are dropped before the runtime.
    local: LocalSet,
    runtime: Runtime,
    alarm: Arc<Alarm>,
    /// Identifies the worker's process.
    mark: Mark,
}

impl Driver {
    /// Returns this thread's driver, and creates it if there is none.
    ///
    /// # Panics
    ///
    /// Panics if the operating system lacks the resources for an async runtime.
    pub(crate) fn get() -> Rc<Self> {
        DRIVER.with_borrow_mut(|driver| Rc::clone(driver.get_or_insert_with(Self::new)))
    }

    /// Returns this thread's driver if one has been created.
    pub(crate) fn existing() -> Option<Rc<Self>> {
        DRIVER.with_borrow(Option::clone)
    }

    fn new() -> Rc<Self> {
        let mark = Mark::current();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("retry-tokio")
            .enable_all()
            // A task that a function has spawned may fork. The fork must not wait for the worker's events.
            .on_thread_park(move || exit_if_forked(mark, 0))
            .build()
            .expect("an async runtime can be started");
        Rc::new(Self {
            runtime,
            local: LocalSet::new(),
            alarm: Arc::new(Alarm::new().expect("an async runtime can be woken")),
            mark,
        })
    }

    /// Makes the runtime this thread's current one until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered {
            _local: self.local.enter(),
            _runtime: self.runtime.enter(),
        }
    }

    /// Runs a future to completion.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.run(None, future)
    }

    /// Runs a future to completion, and also polls it whenever the socket becomes readable.
    pub(crate) fn run<F: Future>(&self, socket: Option<&Socket>, future: F) -> F::Output {
        let _entered = self.runtime.enter();
        let mut future = pin!(self.local.run_until(future));
        let waker = Waker::from(Arc::clone(&self.alarm));
        let mut context = Context::from_waker(&waker);
        loop {
            self.alarm.woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            exit_if_forked(self.mark, 0);
            self.alarm.sleep(socket);
        }
    }
}

/// A guard: while it exists, the runtime is the thread's current one.
pub(crate) struct Entered<'a> {
    _local: LocalEnterGuard,
    _runtime: EnterGuard<'a>,
}

/// A guard that shuts down this thread's driver, including its remaining tasks, when it is dropped.
pub(crate) struct Ends;

impl Drop for Ends {
    fn drop(&mut self) {
        drop(DRIVER.take());
    }
}

/// A socket that is watched while a thread sleeps.
pub(crate) struct Socket {
    file: Arc<OwnedFd>,
    readable: Cell<bool>,
}

impl Socket {
    pub(crate) fn new(file: Arc<OwnedFd>) -> Self {
        Self {
            file,
            // Data may have arrived before the socket was watched.
            readable: Cell::new(true),
        }
    }

    /// Returns whether there may be something to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable.get()
    }

    /// Records that nothing is left to read.
    pub(crate) fn mark_read(&self) {
        self.readable.set(false);
    }
}

/// Wakes a thread that sleeps.
struct Alarm {
    bell: Bell,
    woken: AtomicBool,
    asleep: AtomicBool,
}

impl Alarm {
    fn new() -> io::Result<Self> {
        Ok(Self {
            bell: Bell::new()?,
            woken: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
        })
    }

    /// Sleeps until the alarm rings or the socket becomes readable.
    fn sleep(&self, socket: Option<&Socket>) {
        // `SeqCst` here and in `wake_by_ref`: either this thread sees `woken`, or the waker sees `asleep`.
        self.asleep.store(true, Ordering::SeqCst);
        if !self.woken.load(Ordering::SeqCst)
            && self.bell.wait(socket.map(|socket| &*socket.file))
            && let Some(socket) = socket
        {
            socket.readable.set(true);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::SeqCst) && self.asleep.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }
}

/// The return value of a set-up or a teardown, which may be a future.
pub struct Made<O>(pub O);

impl<F: Future> Made<F> {
    /// Runs the future and returns its output.
    pub fn __value(self) -> F::Output {
        Driver::get().block_on(self.0)
    }
}

/// Returns a value that is not a future: method lookup tries inherent methods before those of traits.
pub trait AtOnce {
    /// The type of the value.
    type Value;

    /// Returns the value.
    fn __value(self) -> Self::Value;
}

impl<O> AtOnce for Made<O> {
    type Value = O;

    fn __value(self) -> O {
        self.0
    }
}
