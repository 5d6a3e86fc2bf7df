//! The thread that gives spans and events to the program's subscriber.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tracing::span::EnteredSpan;
use tracing::subscriber::DefaultGuard;
use tracing::{Span, dispatcher, warn};

use super::TARGET;
use super::context::{Captured, Context, Parent};
use super::live::Live;
use super::messages::Batch;
use crate::api::call_id::CallNumber;
use crate::api::events::{Record, Subscriber};
use crate::sys::{self, Mark, PerProcess, attributes};

/// The longest time that a thread waits for a subscriber that makes no progress. It may wait for that very
/// thread: for its lock of standard output, for example.
const SUBSCRIBER_PATIENCE: Duration = Duration::from_secs(1);

/// The least such time. It becomes shorter the more often it was in vain.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);

/// The bytes of records that may wait for the subscriber. Further ones are dropped if it makes no progress.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The longest time that the end of a process waits for the subscriber.
const SUBSCRIBER_END_TIMEOUT: Duration = Duration::from_secs(10);

/// The tracers of this process.
static TRACERS: PerProcess<Mutex<Vec<Weak<Shared>>>> = PerProcess::new();

/// The worker that has made records.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) worker: u64,
    pub(crate) pid: u32,
    /// The name of the function or service that the worker serves.
    pub(crate) function: &'static str,
}

/// Something to tell the subscriber, in the order in which it has happened.
enum Entry {
    Submitted {
        first: CallNumber,
        count: u32,
        function: &'static str,
        index: Option<u64>,
        context: Context,
    },
    Happened(Record),
    Sent {
        origin: Origin,
        calls: Vec<(u64, CallNumber, Context)>,
        batch: Batch,
    },
    Ended {
        worker: u64,
    },
    /// The last copy of a call's context. The caller's span closes here.
    Released(Captured),
}

/// The sending side of the thread's queue. The thread ends when this is dropped.
pub(crate) struct Tracer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when there is something to do.
    filled: Condvar,
    /// Signalled when something is done while a thread waits for that.
    progressed: Condvar,
    /// The numbers of entries that were added, and that are done.
    added: AtomicU64,
    done: AtomicU64,
    /// The spans of attempts on threads of this process.
    attempts: Option<Arc<Attempts>>,
    mark: Mark,
}

struct Queue {
    entries: VecDeque<Entry>,
    /// The bytes of the records of workers that wait, or are being handled.
    bytes: usize,
    /// The number of threads that wait for progress.
    waiting: usize,
    /// Set once a thread has lost its patience, until there is progress again.
    is_stalled: bool,
    /// The time after which the next thread loses its patience.
    patience: Duration,
    /// The number of records that were dropped.
    dropped: usize,
    is_busy: bool,
    is_closed: bool,
    thread: Option<ThreadId>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            waiting: 0,
            is_stalled: false,
            patience: SUBSCRIBER_PATIENCE,
            dropped: 0,
            is_busy: false,
            is_closed: false,
            thread: None,
        }
    }
}

/// The spans of attempts that run on threads of this process, which the threads enter.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<CallNumber, Span>>);

impl Attempts {
    pub(super) fn begin(&self, call: CallNumber, span: &Span) {
        self.lock().insert(call, span.clone());
    }

    pub(super) fn end(&self, call: CallNumber) {
        // Dropped outside of the lock.
        let _ended = self.lock().remove(&call);
    }

    fn find(&self, call: CallNumber) -> Option<Span> {
        self.lock().get(&call).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallNumber, Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracer {
    /// Starts the thread. With `inline`, functions run on threads of this process.
    ///
    /// # Errors
    ///
    /// Fails if the operating system has no thread left for it.
    pub(crate) fn start(inline: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            progressed: Condvar::new(),
            added: AtomicU64::new(0),
            done: AtomicU64::new(0),
            attempts: inline.then(Arc::default),
            mark: Mark::current(),
        });
        register(&shared);
        let this = Arc::clone(&shared);
        thread::Builder::new()
            .name("retry-tracing".to_owned())
            .spawn(move || {
                attributes::adopt();
                this.run();
            })?;
        Ok(Self(shared))
    }

    /// Returns the subscriber to the runtime's events.
    pub(crate) fn subscriber(&self) -> Arc<dyn Subscriber> {
        Arc::clone(&self.0) as _
    }

    /// Notes that calls were submitted together, before the events about them.
    pub(crate) fn note_submitted(
        &self,
        first: CallNumber,
        count: u32,
        function: &'static str,
        index: Option<u64>,
        context: &Context,
    ) {
        if context.has_spans() {
            self.0.add(Entry::Submitted {
                first,
                count,
                function,
                index,
                context: context.clone(),
            });
        }
    }

    /// Takes in what a worker has recorded. `calls` has the calls of the batch's tickets. Waits for room as
    /// long as the subscriber makes progress, and drops the records otherwise.
    pub(crate) fn take_in(
        &self,
        origin: Origin,
        calls: Vec<(u64, CallNumber, Context)>,
        mut batch: Batch,
    ) {
        let shared = &self.0;
        let size = batch.size();
        let is_full = |queue: &Queue| queue.bytes > 0 && queue.bytes + size > MAX_WAITING_BYTES;
        let (mut queue, has_room) = shared.wait_while(is_full);
        if !has_room {
            queue.dropped += batch.cut();
        }
        queue.bytes += batch.size();
        let sent = Entry::Sent {
            origin,
            calls,
            batch,
        };
        shared.add_to(queue, sent);
    }

    /// Lets go of the context of a call that is over. Usually the caller still has a copy. If this is the
    /// last one, the caller's span closes on the thread of the tracer, since that runs code of the
    /// subscriber.
    pub(crate) fn release(&self, context: Context) {
        if let Some(last) = context.into_last() {
            self.0.add(Entry::Released(last));
        }
    }

    /// Closes the spans of a worker that has ended.
    pub(crate) fn end_worker(&self, worker: u64) {
        self.0.add(Entry::Ended { worker });
    }

    /// Waits until the subscriber has been told everything that has happened so far, as long as it makes
    /// progress.
    #[inline]
    pub(crate) fn catch_up(&self) {
        let shared = &self.0;
        let added = shared.added.load(Ordering::Relaxed);
        if shared.done.load(Ordering::Acquire) < added {
            let is_behind = |_: &Queue| shared.done.load(Ordering::Acquire) < added;
            drop(shared.wait_while(is_behind));
        }
    }

    /// Makes the span of an attempt, and the subscriber of its caller, those of this thread. To be called on
    /// the thread that runs the function.
    pub(crate) fn enter(&self, call: CallNumber, context: &Context) -> Entered {
        self.catch_up();
        let attempts = self.0.attempts.as_ref();
        let captured = context.captured();
        let span = attempts
            .and_then(|attempts| attempts.find(call))
            .filter(|span| !span.is_disabled())
            .or_else(|| match &captured?.parent {
                Parent::Here(span) => Some(span.clone()),
                Parent::InWorker(_) => None,
            });
        Entered {
            _span: span.map(Span::entered),
            _default: captured.map(|captured| dispatcher::set_default(&captured.dispatch)),
        }
    }
}

/// Makes the end of the process wait for a tracer.
fn register(shared: &Arc<Shared>) {
    let mut tracers = TRACERS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if tracers.is_empty() {
        sys::at_exit(finish_all);
    }
    tracers.retain(|tracer| tracer.strong_count() > 0);
    tracers.push(Arc::downgrade(shared));
}

/// Waits for the subscribers, as long as they make progress. By now the program holds no lock of its standard
/// output any more.
extern "C" fn finish_all() {
    let Some(tracers) = TRACERS.get() else { return };
    let tracers = tracers.lock().unwrap_or_else(PoisonError::into_inner);
    let until = Instant::now() + SUBSCRIBER_END_TIMEOUT;
    for shared in tracers.iter().filter_map(Weak::upgrade) {
        let mut queue = shared.lock();
        queue.is_stalled = false;
        queue.patience = SUBSCRIBER_PATIENCE;
        drop(queue);
        let is_behind = |_: &Queue| {
            shared.done.load(Ordering::Acquire) < shared.added.load(Ordering::Relaxed)
                && Instant::now() < until
        };
        drop(shared.wait_while(is_behind));
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist there.
        if self.0.mark.is_current() {
            self.0.lock().is_closed = true;
            self.0.filled.notify_one();
        }
    }
}

/// A span that this thread is in, as long as the value lives.
pub(crate) struct Entered {
    _span: Option<EnteredSpan>,
    _default: Option<DefaultGuard>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, entry: Entry) {
        self.add_to(self.lock(), entry);
    }

    fn add_to(&self, mut queue: MutexGuard<'_, Queue>, entry: Entry) {
        queue.entries.push_back(entry);
        self.added.fetch_add(1, Ordering::Relaxed);
        let begins = queue.entries.len() == 1 && !queue.is_busy;
        drop(queue);
        if begins {
            self.filled.notify_one();
        }
    }

    /// Waits until a condition is false. Gives up once the subscriber has made no progress for a while, or if
    /// this is the thread that the others wait for, and then returns false.
    fn wait_while(&self, condition: impl Fn(&Queue) -> bool) -> (MutexGuard<'_, Queue>, bool) {
        let mut queue = self.lock();
        queue.waiting += 1;
        let mut done = self.done.load(Ordering::Relaxed);
        let mut is_met = true;
        while condition(&queue) {
            if queue.is_stalled || queue.thread == Some(thread::current().id()) {
                is_met = false;
                break;
            }
            let patience = queue.patience;
            let waited = self.progressed.wait_timeout(queue, patience);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            let now = self.done.load(Ordering::Relaxed);
            if timeout.timed_out() && now == done {
                queue.is_stalled = true;
                queue.patience = (patience / 4).max(LEAST_PATIENCE);
            }
            done = now;
        }
        if is_met {
            queue.patience = (queue.patience * 2).min(SUBSCRIBER_PATIENCE);
        }
        queue.waiting -= 1;
        (queue, is_met)
    }

    /// Handles entries until the sending side is dropped.
    fn run(&self) {
        let mut live = Live::new(self.attempts.clone());
        let mut queue = self.lock();
        queue.thread = Some(thread::current().id());
        loop {
            while queue.entries.is_empty() {
                queue.is_busy = false;
                if queue.is_closed {
                    return;
                }
                queue = self
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            queue.is_busy = true;
            let entries = take(&mut queue.entries);
            let dropped = take(&mut queue.dropped);
            drop(queue);
            if dropped > 0 {
                // A panic of the subscriber must end neither this thread nor the program's calls.
                let _ = catch_unwind(|| {
                    warn!(
                        target: TARGET,
                        records = dropped,
                        "records of workers were dropped, because the subscriber did not return"
                    );
                });
            }
            for entry in entries {
                let bytes = match &entry {
                    Entry::Sent { batch, .. } => batch.size(),
                    _ => 0,
                };
                let _ = catch_unwind(AssertUnwindSafe(|| handle(&mut live, entry)));
                let mut queue = self.lock();
                queue.bytes = queue.bytes.saturating_sub(bytes);
                queue.is_stalled = false;
                self.done.fetch_add(1, Ordering::Release);
                if queue.waiting > 0 {
                    self.progressed.notify_all();
                }
            }
            queue = self.lock();
        }
    }
}

fn handle(live: &mut Live, entry: Entry) {
    match entry {
        Entry::Submitted {
            first,
            count,
            function,
            index,
            context,
        } => live.begin_calls(first, count, function, index, &context),
        Entry::Happened(record) => live.take_in(&record),
        Entry::Sent {
            origin,
            calls,
            batch,
        } => live.take_in_batch(&origin, &calls, batch),
        Entry::Ended { worker } => live.end_worker(worker),
        Entry::Released(last) => drop(last),
    }
}

impl Subscriber for Shared {
    fn take_in(&self, record: &Record) -> bool {
        self.add(Entry::Happened(record.clone()));
        true
    }
}
