//! A queue of records with a thread of its own, which loses nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::events::{Interest, Record, Subscriber};
use crate::sys::{Mark, attributes};

/// The number of records that may wait. Beyond it, the threads that publish wait for the consumer.
const MAX_WAITING_RECORDS: usize = 1 << 18;

/// The number of records at which the consumer begins at once.
const BATCH: usize = 4096;

/// The time for which records gather before the consumer begins: to wake it for each call would cost more than the
/// call.
const GATHER: Duration = Duration::from_millis(20);

/// The consumer of a feed.
pub(crate) trait Consume: Send {
    /// Takes in what has arrived. After an error the feed ends.
    fn take_in(&mut self, records: VecDeque<Record>) -> io::Result<()>;

    /// Completes what it makes of the records. It is called after the last record when the program ends, and
    /// may be called before.
    fn complete(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue in front of a consumer.
pub(crate) struct Feed {
    queue: Mutex<Queue>,
    /// Signalled when there is something to consume.
    filled: Condvar,
    /// Signalled when there is room again, and when everything is consumed.
    emptied: Condvar,
    interest: Interest,
    mark: Mark,
}

#[derive(Default)]
struct Queue {
    records: VecDeque<Record>,
    /// True while the consumer works on what it has taken.
    is_busy: bool,
    /// The number of threads that wait until everything is consumed.
    flushing: usize,
    /// Set until the consumer has completed its work for them.
    is_asked: bool,
    /// Set once the consumer has failed.
    failed: Option<Arc<io::Error>>,
}

impl Feed {
    /// Starts the thread that gives records to the consumer.
    pub(crate) fn start(
        thread: &str,
        interest: Interest,
        mut consumer: Box<dyn Consume>,
    ) -> io::Result<Arc<Self>> {
        let feed = Arc::new(Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            interest,
            mark: Mark::current(),
        });
        let this = Arc::clone(&feed);
        std::thread::Builder::new()
            .name(thread.to_owned())
            .spawn(move || {
                attributes::adopt();
                this.consume(&mut *consumer);
            })?;
        Ok(feed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consumes records as long as the process lives.
    fn consume(&self, consumer: &mut dyn Consume) {
        let mut queue = self.lock();
        loop {
            while queue.records.is_empty() && !queue.is_asked {
                queue.is_busy = false;
                self.emptied.notify_all();
                queue = self
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let gathers = |queue: &mut Queue| queue.records.len() < BATCH && queue.flushing == 0;
            let waited = self.filled.wait_timeout_while(queue, GATHER, gathers);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.is_busy = true;
            let records = std::mem::take(&mut queue.records);
            let completes = records.is_empty() && std::mem::take(&mut queue.is_asked);
            drop(queue);
            self.emptied.notify_all();
            let consumed = match completes {
                true => consumer.complete(),
                false => consumer.take_in(records),
            };
            queue = self.lock();
            if let Err(error) = consumed {
                queue.failed = Some(Arc::new(error));
                queue.records.clear();
                self.emptied.notify_all();
                return;
            }
        }
    }

    /// Waits until everything that was published is consumed and the consumer has completed its work. Returns why the
    /// consumer has failed, if it has, or that this takes longer than `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) -> Option<Arc<io::Error>> {
        // A forked child has no thread that would consume anything.
        if !self.mark.is_current() {
            return None;
        }
        let mut queue = self.lock();
        queue.flushing += 1;
        queue.is_asked = true;
        self.filled.notify_one();
        let pending = |queue: &mut Queue| {
            let is_under_way = queue.is_busy || queue.is_asked || !queue.records.is_empty();
            queue.failed.is_none() && is_under_way
        };
        let waited = self.emptied.wait_timeout_while(queue, timeout, pending);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.flushing -= 1;
        let late = waited.timed_out().then(|| {
            let reason = format!("it could not be written within {timeout:?}");
            Arc::new(io::Error::new(io::ErrorKind::TimedOut, reason))
        });
        queue.failed.clone().or(late)
    }
}

impl Subscriber for Feed {
    fn take_in(&self, record: &Record) -> bool {
        let mut queue = self.lock();
        while queue.records.len() >= MAX_WAITING_RECORDS && queue.failed.is_none() {
            queue = self
                .emptied
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if queue.failed.is_some() {
            return false;
        }
        queue.records.push_back(record.clone());
        let count = queue.records.len();
        let begins = !queue.is_busy && (count == 1 || count == BATCH);
        drop(queue);
        if begins {
            self.filled.notify_one();
        }
        true
    }

    fn interest(&self) -> Interest {
        self.interest
    }
}
