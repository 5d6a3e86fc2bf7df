//! Events: the stream of everything that happens to calls and workers.
//!
//! [`events()`](crate::events()) subscribes to the default runtime,
//! [`Runtime::events`](crate::Runtime::events) to a separate one. Progress, logs and reports read this
//! stream.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::api::context::{AttemptOutcome, CallId};
use crate::api::failure::ExitCause;
use crate::sys::Mark;

/// How many events wait for a subscriber before further ones are dropped.
const BACKLOG: usize = 65_536;

/// One of a worker's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An event of a call or a worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the fields are the same everywhere and named after what they are"
)]
pub enum Event {
    /// A call was submitted, by a running function if it has a parent.
    CallQueued {
        function: &'static str,
        call: CallId,
        parent: Option<CallId>,
    },
    /// A call was handed to a worker; it runs when the calls that were handed over before it are done.
    AttemptStarted {
        function: &'static str,
        call: CallId,
        attempt: u32,
        worker_pid: Option<u32>,
    },
    /// An attempt ended without a result, and the call is run again after `delay`.
    Retried {
        function: &'static str,
        call: CallId,
        attempt: u32,
        outcome: AttemptOutcome,
        delay: Duration,
    },
    /// A worker died while it was executing a call.
    Crashed {
        function: &'static str,
        call: CallId,
        attempt: u32,
        worker_pid: Option<u32>,
        cause: ExitCause,
    },
    /// A call has its result or its error.
    Finished {
        function: &'static str,
        call: CallId,
        succeeded: bool,
    },
    /// A worker is ready.
    WorkerUp {
        function: &'static str,
        worker_pid: Option<u32>,
    },
    /// A worker has ended. A worker that was killed may be replaced before its process has ended, so the next
    /// worker may be up before this event.
    WorkerDown {
        function: &'static str,
        worker_pid: Option<u32>,
        cause: ExitCause,
    },
    /// A process that a worker's functions started outlives the worker and could not be killed: it belongs to
    /// another user, or the kernel does not end it.
    ProcessLeft {
        function: &'static str,
        worker_pid: Option<u32>,
        pid: u32,
    },
    /// A worker wrote a line; `call` is set if it is certain which call it was executing.
    Output {
        function: &'static str,
        call: Option<CallId>,
        worker_pid: Option<u32>,
        stream: Stream,
        line: String,
    },
}

/// A subscription to the events of a runtime: an iterator that blocks until the next event.
///
/// It yields the events from its creation on. A subscriber that falls more than 65 536 events behind misses
/// further events; it never delays a call. In a forked child the subscription has ended.
///
/// ```standalone_crate
/// use retry_runtime::events::Event;
/// use retry_runtime::function;
///
/// #[function]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let events = retry_runtime::events();
///     add.remote(1, 2).wait().unwrap();
///     for event in events {
///         if let Event::Finished { function, succeeded, .. } = event {
///             assert_eq!(function, add.name());
///             assert!(succeeded);
///             break;
///         }
///     }
/// }
/// ```
pub struct Events {
    receiver: Option<Receiver<Event>>,
    mark: Mark,
}

impl Events {
    fn new(receiver: Receiver<Event>) -> Self {
        Self {
            receiver: Some(receiver),
            mark: Mark::current(),
        }
    }

    /// A subscription that has ended.
    pub(crate) fn none() -> Self {
        Self::new(sync_channel(0).1)
    }

    /// Where events arrive. A child that was forked has no thread that would send any, and may have
    /// a copy of the channel that is locked.
    fn receiver(&self) -> Option<&Receiver<Event>> {
        self.receiver.as_ref().filter(|_| self.mark.is_current())
    }

    /// Returns the next event, if there is one.
    pub fn try_next(&mut self) -> Option<Event> {
        self.receiver()?.try_recv().ok()
    }

    /// Blocks until the next event, for at most `timeout`.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Event> {
        self.receiver()?.recv_timeout(timeout).ok()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.mark.is_current() {
            std::mem::forget(self.receiver.take());
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.receiver()?.recv().ok()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// The sending side: costs one relaxed load without subscribers.
#[derive(Default)]
pub(crate) struct Publisher {
    observed: AtomicBool,
    subscribers: Mutex<Vec<SyncSender<Event>>>,
}

impl Publisher {
    pub(crate) fn subscribe(&self) -> Events {
        let (sender, receiver) = sync_channel(BACKLOG);
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
        self.observed.store(true, Ordering::Relaxed);
        Events::new(receiver)
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    pub(crate) fn publish(&self, event: &Event) {
        let mut subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| {
            !matches!(
                subscriber.try_send(event.clone()),
                Err(TrySendError::Disconnected(_))
            )
        });
        self.observed
            .store(!subscribers.is_empty(), Ordering::Relaxed);
    }
}
