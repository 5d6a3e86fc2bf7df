//! Subscriptions: queues of events between the runtime and those who read them.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{Event, EventKind};
use crate::api::run::now;
use crate::runtime_thread;
use crate::sys::Mark;

/// Number of records that wait for a subscriber before further ones are dropped.
const MAX_SUBSCRIBER_RECORDS: usize = 65_536;

/// An event of one call, or the same event of several consecutive calls.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The event of the first call.
    pub(crate) event: Event,
    pub(crate) count: u32,
}

impl Record {
    pub(crate) fn one(event: Event) -> Self {
        Self { event, count: 1 }
    }

    /// Returns the events of each call.
    pub(crate) fn events(self) -> RecordEvents {
        RecordEvents(Some(self))
    }
}

/// The events of the calls that a record is about; those that were not read yet.
#[derive(Debug)]
pub(crate) struct RecordEvents(Option<Record>);

impl Iterator for RecordEvents {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let rest = self.0.as_mut()?;
        if rest.count == 1 {
            return self.0.take().map(|last| last.event);
        }
        let next = rest.event.later(1);
        rest.count -= 1;
        Some(std::mem::replace(&mut rest.event, next))
    }
}

/// A subscription to the events of a runtime: an iterator that blocks until the next event, and a stream for
/// async code.
///
/// It yields the events from its creation on. A subscriber never delays a call: if it falls too far behind
/// (65 536 groups of equal events), it misses events, and is told how many by
/// [`EventKind::Lagged`] in their place. In a forked child the subscription has ended.
///
/// ```standalone_crate
/// use retry_runtime::events::{CallOutcome, EventKind};
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
///         if let EventKind::Finished { outcome, .. } = event.kind {
///             assert_eq!(event.function, add.name());
///             assert_eq!(outcome, CallOutcome::Succeeded);
///             break;
///         }
///     }
/// }
/// ```
///
/// # Panics
///
/// Its iterator panics on a thread that drives a tokio runtime, which it would block: use [`recv`](Self::recv) there,
/// or the stream.
pub struct Events {
    /// `None` in a subscription that has ended.
    queue: Option<Arc<Queue>>,
    /// The rest of the record that is being read.
    rest: Option<RecordEvents>,
    mark: Mark,
}

impl Events {
    fn new(queue: Option<Arc<Queue>>) -> Self {
        Self {
            queue,
            rest: None,
            mark: Mark::current(),
        }
    }

    /// Returns a subscription that has ended.
    pub(crate) fn none() -> Self {
        Self::new(None)
    }

    /// Returns the queue. A child that was forked has no thread that would send any events, and may have a copy
    /// of the queue that is locked.
    fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.as_ref().filter(|_| self.mark.is_current())
    }

    /// Returns the next event, if there is one.
    pub fn try_next(&mut self) -> Option<Event> {
        if let Some(event) = self.next_of_rest() {
            return Some(event);
        }
        let record = self.queue()?.lock().pop()?;
        self.begin(record)
    }

    /// Blocks until the next event, for at most `timeout`.
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block, unless `timeout` is zero: write
    /// `tokio::time::timeout(timeout, events.recv()).await` there. Inside `spawn_blocking` and `block_in_place` it
    /// may be called.
    #[track_caller]
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Event> {
        if !timeout.is_zero() {
            let instead = "`tokio::time::timeout(timeout, events.recv()).await`";
            runtime_thread::refuse(format_args!("`.next_timeout(timeout)`"), instead);
        }
        self.wait(Instant::now().checked_add(timeout))
    }

    /// Waits for the next event without blocking the thread. Returns `None` once the subscription has ended.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn wait(&mut self, until: Option<Instant>) -> Option<Event> {
        if let Some(event) = self.next_of_rest() {
            return Some(event);
        }
        let queue = Arc::clone(self.queue()?);
        let record = queue.wait(until)?;
        self.begin(record)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.next_of_rest() {
            return Poll::Ready(Some(event));
        }
        let Some(queue) = self.queue() else {
            return Poll::Ready(None);
        };
        let mut waiting = queue.lock();
        let Some(record) = waiting.pop() else {
            waiting.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        drop(waiting);
        Poll::Ready(self.begin(record))
    }

    /// Returns the first event of a record and keeps the others.
    fn begin(&mut self, record: Record) -> Option<Event> {
        self.rest.insert(record.events()).next()
    }

    fn next_of_rest(&mut self) -> Option<Event> {
        self.rest.as_mut()?.next()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.mark.is_current() {
            // The queue may be locked by a thread that does not exist here.
            std::mem::forget(self.queue.take());
        } else if let Some(queue) = &self.queue {
            queue.lock().is_closed = true;
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    #[track_caller]
    fn next(&mut self) -> Option<Event> {
        runtime_thread::refuse(
            format_args!("the iterator of events"),
            "`events.recv().await`",
        );
        self.wait(None)
    }
}

impl futures_core::Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// The records that wait for one subscriber.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    /// The number of events that were dropped after the last record.
    missed: u64,
    waker: Option<Waker>,
    is_closed: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<Record> {
        self.records.pop_front().or_else(|| {
            let missed = std::mem::take(&mut self.missed);
            (missed > 0).then(|| {
                let mut event = Event::new("", EventKind::Lagged { missed });
                event.at = now();
                Record::one(event)
            })
        })
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record. Returns false if the subscription has ended.
    fn push(&self, record: &Record) -> bool {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return false;
        }
        // Once something is missing, everything is, until the subscriber has read what came before.
        if waiting.missed > 0 || waiting.records.len() >= MAX_SUBSCRIBER_RECORDS {
            waiting.missed += u64::from(record.count);
        } else {
            waiting.records.push_back(record.clone());
        }
        let waker = waiting.waker.take();
        drop(waiting);
        self.arrived.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Blocks until there is a record or the time has come.
    fn wait(&self, until: Option<Instant>) -> Option<Record> {
        let mut waiting = self.lock();
        loop {
            if let Some(record) = waiting.pop() {
                return Some(record);
            }
            waiting = match until {
                None => self
                    .arrived
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.checked_duration_since(Instant::now())?;
                    let waited = self.arrived.wait_timeout(waiting, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// The events that a subscriber wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interest {
    #[default]
    Nothing,
    /// Events of workers, of failed attempts, and of calls that needed more than one attempt.
    Failures,
    Everything,
}

/// Part of the runtime that takes in records at once, on the thread that publishes them.
pub(crate) trait Subscriber: Send + Sync {
    /// Takes in a record, also one that it has no interest in. Returns false if it wants no more.
    fn take_in(&self, record: &Record) -> bool;

    fn interest(&self) -> Interest {
        Interest::Everything
    }
}

impl Subscriber for Queue {
    fn take_in(&self, record: &Record) -> bool {
        self.push(record)
    }
}

/// The sending side: costs one relaxed load without subscribers.
#[derive(Default)]
pub(crate) struct Publisher {
    /// The greatest [`Interest`] of all subscribers.
    interest: AtomicU8,
    subscribers: Mutex<Vec<Arc<dyn Subscriber>>>,
}

impl Publisher {
    pub(crate) fn subscribe(&self) -> Events {
        let queue = Arc::new(Queue::default());
        self.add(Arc::clone(&queue) as Arc<dyn Subscriber>);
        Events::new(Some(queue))
    }

    pub(crate) fn add(&self, subscriber: Arc<dyn Subscriber>) {
        let mut subscribers = self.lock();
        subscribers.push(subscriber);
        self.update(&subscribers);
    }

    fn update(&self, subscribers: &[Arc<dyn Subscriber>]) {
        let interests = subscribers.iter().map(|subscriber| subscriber.interest());
        let interest = interests.max().unwrap_or_default();
        self.interest.store(interest as u8, Ordering::Relaxed);
    }

    /// Returns the events that anyone wants.
    pub(crate) fn interest(&self) -> Interest {
        match self.interest.load(Ordering::Relaxed) {
            0 => Interest::Nothing,
            1 => Interest::Failures,
            _ => Interest::Everything,
        }
    }

    /// Gives a record the present time, and gives it to all subscribers.
    pub(crate) fn publish(&self, mut record: Record) {
        record.event.at = now();
        let mut subscribers = self.lock();
        let before = subscribers.len();
        subscribers.retain(|subscriber| subscriber.take_in(&record));
        if subscribers.len() != before {
            self.update(&subscribers);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<dyn Subscriber>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::call_id::CallNumber;

    fn record(first: u64, count: u32) -> Record {
        let mut event = Event::new("f", EventKind::Queued);
        event.call = Some(CallNumber(first).of(event.run));
        event.input_index = Some(first - 1);
        Record { event, count }
    }

    #[test]
    fn a_record_of_several_calls_is_read_as_events_of_each() {
        let publisher = Publisher::default();
        let mut events = publisher.subscribe();
        publisher.publish(record(1, 3));
        publisher.publish(record(4, 1));
        let read: Vec<_> = std::iter::from_fn(|| events.try_next())
            .map(|event| (event.call.unwrap().number(), event.input_index.unwrap()))
            .collect();
        assert_eq!(read, [(1, 0), (2, 1), (3, 2), (4, 3)]);
    }

    #[test]
    fn a_slow_subscriber_learns_how_much_it_has_missed() {
        let publisher = Publisher::default();
        let mut events = publisher.subscribe();
        for first in 0..MAX_SUBSCRIBER_RECORDS as u64 {
            publisher.publish(record(first + 1, 1));
        }
        publisher.publish(record(1, 5));
        publisher.publish(record(1, 2));
        let read: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert_eq!(read.len(), MAX_SUBSCRIBER_RECORDS + 1);
        assert_eq!(
            read[MAX_SUBSCRIBER_RECORDS].kind,
            EventKind::Lagged { missed: 7 }
        );
        publisher.publish(record(9, 1));
        assert_eq!(events.try_next().unwrap().call.unwrap().number(), 9);
    }

    #[test]
    fn a_dropped_subscription_costs_nothing_any_more() {
        let publisher = Publisher::default();
        drop(publisher.subscribe());
        publisher.publish(record(1, 1));
        assert_eq!(publisher.interest(), Interest::Nothing);
    }
}
