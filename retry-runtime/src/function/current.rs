//! The call that a function is running for.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::api::call_id::{CallId, CallNumber};
use crate::api::run::RunId;
use crate::shared::Made;
use crate::wire::ControlBlock;
use crate::wire::frame::CallHeader;

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// The control block of this process, if it is a worker.
static CONTROL_BLOCK: OnceLock<Arc<ControlBlock>> = OnceLock::new();

/// Wakers of the futures that wait for a ticket to be asked to stop.
static WAITING: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The slot of calls that threads of the program execute. Their tickets are numbers of this process.
const INLINE: usize = usize::MAX;

/// The tickets of such calls that have to stop and have not ended.
static ASKED_INLINE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

fn asked_inline() -> MutexGuard<'static, BTreeSet<u64>> {
    ASKED_INLINE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Waiter {
    id: u64,
    ticket: u64,
    waker: Waker,
}

fn lock() -> MutexGuard<'static, Vec<Waiter>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn install(control: Arc<ControlBlock>) {
    let _ = CONTROL_BLOCK.set(control);
}

/// Counts, on the control block, a request that this worker sends to its parent.
pub(crate) fn count_request() {
    if let Some(control) = CONTROL_BLOCK.get() {
        control.count_request();
    }
}

/// Counts, on the control block, a shared value that this worker has made, or has dropped.
pub(crate) fn count_made(made: Made) {
    if let Some(control) = CONTROL_BLOCK.get() {
        match made {
            Made::New(bytes) => control.add_made(bytes),
            Made::Dropped(bytes) => control.remove_made(bytes),
        }
    }
}

/// Sets the call that is running on this thread.
pub(crate) fn enter(call: Current) {
    // Shorter code than `CURRENT.set`, which would first initialise the value if needed.
    CURRENT.with(|current| current.set(Some(call)));
}

/// Marks that no call is running on this thread any more.
pub(crate) fn leave() {
    CURRENT.set(None);
}

/// Wakes the futures that wait for this ticket to be asked to stop.
pub(crate) fn wake_asked(ticket: u64) {
    let asked: Vec<Waiter> = lock()
        .extract_if(.., |waiter| waiter.ticket == ticket)
        .collect();
    for waiter in asked {
        waiter.waker.wake();
    }
}

/// The call that a function is running for, as [`current()`](crate::current()) returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    call: CallId,
    input_index: Option<u64>,
    attempt: u32,
    token: CancelToken,
}

impl Current {
    pub(crate) fn new(header: &CallHeader, slot: usize) -> Self {
        Self {
            call: CallNumber(header.call).of(RunId::current()),
            input_index: header.index,
            attempt: header.attempt,
            token: CancelToken {
                slot,
                ticket: header.ticket,
            },
        }
    }

    /// Returns the call that a thread of the program is going to execute.
    pub(crate) fn inline(header: &CallHeader) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let mut call = Self::new(header, INLINE);
        call.token.ticket = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        call
    }

    /// Asks a call that a thread of the program executes to stop.
    pub(crate) fn ask_inline(&self) {
        asked_inline().insert(self.token.ticket);
        wake_asked(self.token.ticket);
    }

    /// Marks that a call has ended that a thread of the program has executed.
    pub(crate) fn end_inline(&self) {
        asked_inline().remove(&self.token.ticket);
    }

    /// Returns the id of the call, which is the same in all its attempts.
    #[must_use]
    pub fn call_id(&self) -> CallId {
        self.call
    }

    /// Returns the position of the input in its map, counted from zero; `None` for a single call.
    #[must_use]
    pub fn input_index(&self) -> Option<u64> {
        self.input_index
    }

    /// Returns the number of this attempt, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the token that is set when the attempt has to stop. It may be passed to other threads.
    ///
    /// A function with a `grace` can return in time because of it, and so keep its worker.
    #[must_use]
    pub fn token(&self) -> CancelToken {
        self.token
    }

    /// Returns the ticket under which the worker runs the attempt.
    pub(crate) fn ticket(&self) -> u64 {
        self.token.ticket
    }
}

/// Reports to a running function that it has to stop, since its attempt timed out or its call was cancelled.
///
/// ```
/// # use retry_runtime::function;
/// #[function(timeout = "10s", grace = "2s")]
/// fn count(up_to: u64) -> u64 {
///     let token = retry_runtime::current().map(|call| call.token());
///     (0..up_to)
///         .take_while(|_| !token.is_some_and(|token| token.is_cancelled()))
///         .sum()
/// }
///
/// assert_eq!(count(4), 6); // an ordinary call
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelToken {
    slot: usize,
    ticket: u64,
}

impl CancelToken {
    /// Returns whether the attempt has to stop. Costs one load from memory in a worker process.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        if self.slot == INLINE {
            return asked_inline().contains(&self.ticket);
        }
        CONTROL_BLOCK
            .get()
            .is_some_and(|control| control.is_asked(self.slot, self.ticket))
    }

    /// Waits until the attempt has to stop; for async functions.
    ///
    /// A function that is not async cannot be woken while it blocks on this: it has to call
    /// [`is_cancelled`](Self::is_cancelled) now and then.
    ///
    /// ```
    /// # use retry_runtime::function;
    /// use std::pin::pin;
    /// use std::time::Duration;
    ///
    /// /// Counts the seconds until it has to stop.
    /// #[function(timeout = "1m", grace = "2s")]
    /// async fn count() -> u64 {
    ///     let token = retry_runtime::current().unwrap().token();
    ///     let mut cancelled = pin!(token.cancelled());
    ///     let mut seconds = 0;
    ///     while tokio::time::timeout(Duration::from_secs(1), cancelled.as_mut()).await.is_err() {
    ///         seconds += 1;
    ///     }
    ///     seconds
    /// }
    /// ```
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        Asked {
            token: *self,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

struct Asked {
    token: CancelToken,
    id: u64,
}

impl Future for Asked {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = lock();
        // Check under the lock: a stop that is requested after this finds the waker.
        if self.token.is_cancelled() {
            return Poll::Ready(());
        }
        waiting.retain(|waiter| waiter.id != self.id);
        waiting.push(Waiter {
            id: self.id,
            ticket: self.token.ticket,
            waker: context.waker().clone(),
        });
        Poll::Pending
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        lock().retain(|waiter| waiter.id != self.id);
    }
}

/// Returns the call that runs on this thread of a worker; `None` anywhere else, such as in an ordinary call.
///
/// ```
/// # use retry_runtime::function;
/// #[function(retries = 2)]
/// fn attempt() -> u32 {
///     retry_runtime::current().map_or(0, |call| call.attempt())
/// }
///
/// assert_eq!(attempt(), 0); // an ordinary call
/// ```
#[must_use]
pub fn current() -> Option<Current> {
    CURRENT.get()
}
