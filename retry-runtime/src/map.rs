//! One function over many inputs.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::iter::FusedIterator;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

use crate::args::EncodeError;
use crate::block::{self, Wait};
use crate::budget::Budget;
use crate::call::Decoders;
use crate::codec::CodecError;
use crate::delivery::{self, Sink};
use crate::engine::{Answers, Callee, Host, Job, rejected};
use crate::error::{CallError, Rejected, Startup};
use crate::registry::Registration;
use crate::scheduler::{CallKey, Failure, FunctionKey, Outcome};
use crate::spin::Spin;
use crate::{Options, Retries};

/// How many inputs are taken ahead of the consumer unless told otherwise.
const WINDOW: usize = 1024;

/// How many bytes of inputs may be outstanding before no further ones are taken, however large
/// the window is.
const WINDOW_BYTES: usize = 64 * 1024 * 1024;

/// How many inputs are submitted at once.
const CHUNK: usize = 256;

/// How many bytes of inputs are submitted at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How long inputs are collected before they are submitted: an input iterator may be slow.
const CHUNK_TIME: Duration = Duration::from_micros(200);

type Encode<I> = fn(I, &mut Vec<u8>, usize) -> Result<(), (usize, EncodeError)>;

/// A function over a sequence of inputs: nothing is run before it is consumed.
///
/// Each item is a `Result`, the same that `.remote()` gives, in the order of the inputs. Consume
/// it as an iterator (`for result in map`, which blocks), as a [`stream`](Self::stream), as a
/// future (`map.await` is a `Vec` of all results), or with [`try_collect`](Self::try_collect).
///
/// No more inputs than the [`window`](Self::window) are taken ahead of the consumer. Dropping it
/// cancels what is outstanding. If the input iterator panics, the results of the inputs before
/// are delivered, and then the panic goes on in the consumer.
///
/// Inputs are taken on the consumer's thread: while the input iterator blocks, so does the
/// consumer.
#[must_use = "a map does nothing unless it is consumed: loop over it, or `.await` it"]
pub struct Map<I: Iterator, T, E> {
    host: Host,
    config: Option<Arc<[u8]>>,
    budget: Option<f64>,
    registration: &'static Registration,
    options: Options,
    decoders: Decoders<T, E>,
    inputs: I,
    encode: Encode<I::Item>,
    window: usize,
    ordered: bool,
}

impl<I: Iterator, T, E> Map<I, T, E> {
    pub(crate) fn new(
        host: Host,
        config: Option<Arc<[u8]>>,
        registration: &'static Registration,
        options: Options,
        decoders: Decoders<T, E>,
        inputs: I,
        encode: Encode<I::Item>,
    ) -> Self {
        Self {
            host,
            config,
            budget: None,
            registration,
            options,
            decoders,
            inputs,
            encode,
            window: WINDOW,
            ordered: true,
        }
    }

    /// Another retry policy; each input has its own retries.
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.options = self.options.retries(retries);
        self
    }

    /// Another limit on one attempt's execution.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// Another limit on queue, attempts and delays together, for each input.
    ///
    /// # Panics
    ///
    /// If it is zero.
    #[track_caller]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// Results come as they are ready instead of in the order of the inputs.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// The share of all attempts that may be retries, such as 0.1. Inputs that fail when it is
    /// used up fail now: what is down is not brought back by asking it more often. Ten retries
    /// are always allowed.
    ///
    /// # Panics
    ///
    /// If `ratio` is not between 0 and 1.
    #[track_caller]
    pub fn retry_budget(mut self, ratio: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&ratio),
            "the retry budget of a map must be between 0.0 and 1.0"
        );
        self.budget = Some(ratio);
        self
    }

    /// How many inputs may be taken ahead of the consumer: 1024 unless told otherwise, and no
    /// further ones while 64 MiB of inputs are outstanding.
    ///
    /// # Panics
    ///
    /// If `inputs` is zero.
    #[track_caller]
    pub fn window(mut self, inputs: usize) -> Self {
        assert!(inputs > 0, "the window of a map must be at least 1");
        self.window = inputs;
        self
    }

    /// The results as a stream.
    pub fn stream(self) -> MapStream<I, T, E> {
        MapStream(Driver::new(self))
    }

    /// The values of all inputs, or the first error, at which the rest is cancelled.
    ///
    /// Await it, or [`wait`](TryCollect::wait) for it.
    pub fn try_collect<C: Default + Extend<T>>(self) -> TryCollect<I, T, E, C> {
        TryCollect {
            driver: Driver::new(self),
            collected: C::default(),
        }
    }
}

impl<I: Iterator, T, E> fmt::Debug for Map<I, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("function", &self.registration.spec.name)
            .field("window", &self.window)
            .field("ordered", &self.ordered)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator, T, E> IntoIterator for Map<I, T, E> {
    type Item = Result<T, CallError<E>>;
    type IntoIter = MapIter<I, T, E>;

    fn into_iter(self) -> Self::IntoIter {
        MapIter(Driver::new(self))
    }
}

impl<I: Iterator, T, E> IntoFuture for Map<I, T, E> {
    type Output = Vec<Result<T, CallError<E>>>;
    type IntoFuture = MapFuture<I, T, E>;

    fn into_future(self) -> Self::IntoFuture {
        MapFuture {
            driver: Driver::new(self),
            collected: Vec::new(),
        }
    }
}

/// The results of a [`Map`], one after the other, blocking.
#[must_use = "iterators do nothing unless they are consumed"]
pub struct MapIter<I: Iterator, T, E>(Driver<I, T, E>);

impl<I: Iterator, T, E> Iterator for MapIter<I, T, E> {
    type Item = Result<T, CallError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.next_arrived() {
            Some(item) => Some(item),
            None => block::block_on(Next(&mut self.0)),
        }
    }
}

impl<I: Iterator, T, E> FusedIterator for MapIter<I, T, E> {}

/// The next result of a map.
struct Next<'a, I: Iterator, T, E>(&'a mut Driver<I, T, E>);

impl<I: Iterator, T, E> Unpin for Next<'_, I, T, E> {}

impl<I: Iterator, T, E> Future for Next<'_, I, T, E> {
    type Output = Option<Result<T, CallError<E>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0.poll_next(context)
    }
}

impl<I: Iterator, T, E> Wait for Next<'_, I, T, E> {
    fn attend(&mut self, spin: &mut Spin, enough: &mut dyn FnMut() -> bool) {
        self.0.attend(spin, enough);
    }
}

/// The results of a [`Map`] as a stream.
#[must_use = "streams do nothing unless they are polled"]
pub struct MapStream<I: Iterator, T, E>(Driver<I, T, E>);

impl<I: Iterator, T, E> Unpin for MapStream<I, T, E> {}

impl<I: Iterator, T, E> futures_core::Stream for MapStream<I, T, E> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.0.poll_next(context)
    }
}

/// All results of a [`Map`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct MapFuture<I: Iterator, T, E> {
    driver: Driver<I, T, E>,
    collected: Vec<Result<T, CallError<E>>>,
}

impl<I: Iterator, T, E> Unpin for MapFuture<I, T, E> {}

impl<I: Iterator, T, E> Future for MapFuture<I, T, E> {
    type Output = Vec<Result<T, CallError<E>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        while let Some(item) = std::task::ready!(self.driver.poll_next(context)) {
            self.collected.push(item);
        }
        Poll::Ready(std::mem::take(&mut self.collected))
    }
}

/// The values of all inputs of a [`Map`], or its first error.
#[must_use = "it does nothing unless it is awaited: add `.await`, or `.wait()` to block"]
pub struct TryCollect<I: Iterator, T, E, C> {
    driver: Driver<I, T, E>,
    collected: C,
}

impl<I: Iterator, T, E, C: Default + Extend<T>> TryCollect<I, T, E, C> {
    /// Blocks this thread until all results are there.
    ///
    /// # Errors
    ///
    /// The first error; what is outstanding then is cancelled.
    pub fn wait(self) -> Result<C, CallError<E>> {
        block::block_on(self)
    }
}

impl<I: Iterator, T, E, C> Unpin for TryCollect<I, T, E, C> {}

impl<I: Iterator, T, E, C: Default + Extend<T>> Future for TryCollect<I, T, E, C> {
    type Output = Result<C, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::task::ready!(self.driver.poll_next(context)) {
                Some(Ok(value)) => self.collected.extend([value]),
                Some(Err(error)) => {
                    self.driver.cancel();
                    return Poll::Ready(Err(error));
                }
                None => return Poll::Ready(Ok(std::mem::take(&mut self.collected))),
            }
        }
    }
}

impl<I: Iterator, T, E, C: Default + Extend<T>> Wait for TryCollect<I, T, E, C> {
    fn attend(&mut self, spin: &mut Spin, enough: &mut dyn FnMut() -> bool) {
        self.driver.attend(spin, enough);
    }
}

/// What a map and those who deliver to it share.
#[derive(Default)]
pub(crate) struct Shared(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    entries: Slab<Entry>,
    /// The entries in the order of their inputs; only for a map that keeps it.
    order: VecDeque<usize>,
    /// The entries in the order in which they were done; only for a map without order.
    ready: VecDeque<usize>,
    ordered: bool,
    waker: Option<Waker>,
}

struct Entry {
    index: u64,
    size: usize,
    call: Option<CallKey>,
    outcome: Option<Outcome>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to put outcomes in.
    pub(crate) fn delivery(&self) -> Delivery<'_> {
        Delivery(self.lock())
    }
}

/// Outcomes being put into a map.
pub(crate) struct Delivery<'a>(MutexGuard<'a, Entries>);

impl Delivery<'_> {
    pub(crate) fn put(&mut self, entry: usize, index: Option<u64>, outcome: Outcome) {
        let entries = &mut *self.0;
        // The entry is gone if the map was dropped, and may then belong to nobody or another.
        if let Some(place) = entries.entries.get_mut(entry)
            && Some(place.index) == index
        {
            place.outcome = Some(outcome);
            if !entries.ordered {
                entries.ready.push_back(entry);
            }
        }
    }

    /// Wakes the consumer if there is something for it.
    pub(crate) fn finish(mut self) {
        let entries = &mut *self.0;
        let waker = if entries.has_next() {
            entries.waker.take()
        } else {
            None
        };
        drop(self);
        if let Some(waker) = waker {
            delivery::wake(waker);
        }
    }
}

impl Entries {
    fn has_next(&self) -> bool {
        if self.ordered {
            self.order
                .front()
                .is_some_and(|entry| self.entries[*entry].outcome.is_some())
        } else {
            !self.ready.is_empty()
        }
    }

    fn take_next(&mut self) -> Option<Entry> {
        if !self.has_next() {
            return None;
        }
        let entry = if self.ordered {
            self.order.pop_front()
        } else {
            self.ready.pop_front()
        };
        entry.map(|entry| self.entries.remove(entry))
    }
}

/// Takes inputs, submits them and collects what became of them.
struct Driver<I: Iterator, T, E> {
    host: Host,
    config: Option<Arc<[u8]>>,
    budget: Option<Arc<Budget>>,
    registration: &'static Registration,
    options: Options,
    decoders: Decoders<T, E>,
    inputs: Option<I>,
    encode: Encode<I::Item>,
    window: usize,
    shared: Arc<Shared>,
    arrived: VecDeque<(u64, Outcome)>,
    next_index: u64,
    /// Inputs that were taken and whose results were not handed out.
    pending: usize,
    /// Of those, the ones whose results have not arrived.
    outstanding: usize,
    outstanding_bytes: usize,
    /// A panic of the input iterator, for when all results before it are handed out.
    panic: Option<Box<dyn Any + Send>>,
    /// Why workers do not start: reason enough not to try for each further input.
    startup: Option<Startup>,
    /// Whose answers can be looked for.
    function: Option<FunctionKey>,
}

impl<I: Iterator, T, E> Driver<I, T, E> {
    fn new(map: Map<I, T, E>) -> Self {
        let shared = Shared::default();
        shared.lock().ordered = map.ordered;
        Self {
            host: map.host,
            config: map.config,
            budget: map.budget.map(|ratio| Arc::new(Budget::new(ratio))),
            registration: map.registration,
            options: map.options,
            decoders: map.decoders,
            inputs: Some(map.inputs),
            encode: map.encode,
            window: map.window,
            shared: Arc::new(shared),
            arrived: VecDeque::new(),
            next_index: 0,
            pending: 0,
            outstanding: 0,
            outstanding_bytes: 0,
            panic: None,
            startup: None,
            function: None,
        }
    }

    /// A result that has already arrived, as long as the workers have enough to do.
    fn next_arrived(&mut self) -> Option<Result<T, CallError<E>>> {
        // Inputs are worth a submission by the chunk: one for each result would cost a lock, a
        // system call and a wake-up each.
        let room = self.window - self.pending;
        let chunk = (self.window / 4).clamp(1, CHUNK);
        if self.inputs.is_some() && self.outstanding < self.window / 4 && room >= chunk {
            return None;
        }
        self.hand_out()
    }

    fn hand_out(&mut self) -> Option<Result<T, CallError<E>>> {
        let (index, outcome) = self.arrived.pop_front()?;
        self.pending -= 1;
        if let Err(Failure::Startup(startup)) = &outcome.result {
            self.startup = Some(startup.clone());
        }
        Some(
            self.decoders
                .decode(self.registration, Some(index), outcome),
        )
    }

    fn poll_next(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<T, CallError<E>>>> {
        loop {
            if let Some(item) = self.next_arrived() {
                return Poll::Ready(Some(item));
            }
            let more = self.feed();
            if let Some(item) = self.hand_out() {
                return Poll::Ready(Some(item));
            }
            let shared = Arc::clone(&self.shared);
            let mut entries = shared.lock();
            while let Some(entry) = entries.take_next() {
                self.outstanding -= 1;
                self.outstanding_bytes -= entry.size;
                if let Some(outcome) = entry.outcome {
                    self.arrived.push_back((entry.index, outcome));
                }
            }
            if !self.arrived.is_empty() {
                drop(entries);
                // Handed out even while there is room for more inputs: those may be slow.
                return Poll::Ready(self.hand_out());
            }
            if more {
                continue;
            }
            if self.pending == 0 {
                drop(entries);
                return match self.panic.take() {
                    Some(panic) => resume_unwind(panic),
                    None => Poll::Ready(None),
                };
            }
            entries.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
    }

    /// Looks for answers, until there is `enough` or the patience is over.
    fn attend(&mut self, spin: &mut Spin, enough: &mut dyn FnMut() -> bool) {
        let answers = self.function.map_or(Answers::To(None), Answers::Of);
        self.host.attend(answers, spin, enough);
    }

    /// Takes inputs and submits them, a chunk at most. True if there is room for more.
    fn feed(&mut self) -> bool {
        let limit = self.host.max_message();
        let room = |driver: &Self, taken: usize, bytes: usize| {
            driver.inputs.is_some()
                && driver.pending < driver.window
                && taken < CHUNK
                && bytes < CHUNK_BYTES
                && (driver.outstanding == 0 && taken == 0
                    || driver.outstanding_bytes + bytes < WINDOW_BYTES)
        };
        if !room(self, 0, 0) {
            return false;
        }
        let begun = Instant::now();
        let mut buffer = Vec::new();
        let mut ends: Vec<Result<usize, Rejected>> = Vec::new();
        while room(self, ends.len(), buffer.len()) && begun.elapsed() < CHUNK_TIME {
            let Some(input) = self.next_input() else {
                break;
            };
            let start = buffer.len();
            // The limit is on one input; the buffer holds several.
            let most = start.saturating_add(limit);
            let encode = || (self.encode)(input, &mut buffer, most);
            let encoded = match catch_unwind(AssertUnwindSafe(encode)) {
                Ok(encoded) => encoded,
                // As if the iterator had panicked: at this input's position.
                Err(panic) => {
                    buffer.truncate(start);
                    self.panic = Some(panic);
                    self.inputs = None;
                    break;
                }
            };
            self.pending += 1;
            ends.push(match encoded {
                Ok(()) => Ok(buffer.len()),
                Err((parameter, error)) => {
                    buffer.truncate(start);
                    Err(refuse(self.registration, parameter, error, limit))
                }
            });
        }
        self.submit(Bytes::from(buffer), ends);
        self.inputs.is_some() && self.pending < self.window && self.outstanding_bytes < WINDOW_BYTES
    }

    fn next_input(&mut self) -> Option<I::Item> {
        let inputs = self.inputs.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| inputs.next())) {
            Ok(Some(input)) => Some(input),
            Ok(None) => {
                self.inputs = None;
                None
            }
            Err(panic) => {
                self.panic = Some(panic);
                self.inputs = None;
                None
            }
        }
    }

    fn submit(&mut self, buffer: Bytes, ends: Vec<Result<usize, Rejected>>) {
        let mut jobs = Vec::with_capacity(ends.len());
        let mut refused = Vec::new();
        let mut entries = self.shared.lock();
        let mut start = 0;
        for end in ends {
            let index = self.next_index;
            self.next_index += 1;
            let size = end.as_ref().map_or(0, |end| end - start);
            let entry = entries.entries.insert(Entry {
                index,
                size,
                call: None,
                outcome: None,
            });
            if entries.ordered {
                entries.order.push_back(entry);
            }
            self.outstanding += 1;
            self.outstanding_bytes += size;
            let sink = Sink::Map(Arc::clone(&self.shared), entry);
            let index = Some(index);
            match (end, &self.startup) {
                (Err(reason), _) => refused.push((entry, index, rejected(reason))),
                (Ok(_), Some(startup)) => {
                    let mut outcome = rejected(Rejected::ShutDown);
                    outcome.result = Err(Failure::Startup(startup.clone()));
                    refused.push((entry, index, outcome));
                }
                (Ok(end), None) => {
                    let input = buffer.slice(start..end);
                    start = end;
                    jobs.push(Job {
                        sink,
                        index,
                        input,
                        method: self.registration.place(),
                    });
                }
            }
        }
        drop(entries);
        let options = self.options.over(self.host.options());
        let callee = Callee {
            registration: self.registration,
            config: self.config.clone(),
            policy: options.policy(self.registration.spec),
            budget: self.budget.clone(),
        };
        let submitted: Vec<(usize, Option<u64>)> = jobs
            .iter()
            .filter_map(|job| match job.sink {
                Sink::Map(_, entry) => Some((entry, job.index)),
                Sink::Slot(_) | Sink::Nested(..) => None,
            })
            .collect();
        let mut keys = Vec::with_capacity(jobs.len());
        let result = if jobs.is_empty() {
            Ok(self.function)
        } else {
            self.host.submit(&callee, jobs, |key| keys.push(key))
        };
        let mut delivery = self.shared.delivery();
        match result {
            Err(reason) => {
                for (entry, index) in submitted {
                    delivery.put(entry, index, rejected(reason.clone()));
                }
            }
            Ok(function) => {
                self.function = function;
                for ((entry, _), key) in submitted.into_iter().zip(keys) {
                    // Nobody else removes entries, so that it is still there.
                    delivery.0.entries[entry].call = Some(key);
                }
            }
        }
        for (entry, index, outcome) in refused {
            delivery.put(entry, index, outcome);
        }
        drop(delivery);
    }

    /// Cancels what is outstanding.
    fn cancel(&mut self) {
        self.inputs = None;
        let calls: Vec<CallKey> = {
            let mut entries = self.shared.lock();
            entries.order.clear();
            entries.ready.clear();
            entries
                .entries
                .drain()
                .filter(|entry| entry.outcome.is_none())
                .filter_map(|entry| entry.call)
                .collect()
        };
        self.pending = 0;
        self.outstanding = 0;
        self.arrived.clear();
        if !calls.is_empty() {
            self.host.cancel(calls);
        }
    }
}

impl<I: Iterator, T, E> Drop for Driver<I, T, E> {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Why an input is not sent.
pub(crate) fn refuse(
    registration: &'static Registration,
    parameter: usize,
    error: EncodeError,
    limit: usize,
) -> Rejected {
    let parameter = registration
        .spec
        .parameters
        .get(parameter)
        .copied()
        .unwrap_or("_");
    match error.0 {
        CodecError::TooLarge(_) => Rejected::TooLarge {
            parameter: parameter.into(),
            limit,
        },
        CodecError::Invalid(reason) => Rejected::NotEncodable {
            parameter: parameter.into(),
            reason: reason.into(),
        },
    }
}

/// A function over a sequence of inputs of which only the success counts.
#[must_use = "it does nothing unless it is awaited: add `.await`, or `.wait()` to block"]
pub struct ForEach<I: Iterator, T, E>(Driver<I, T, E>);

impl<I: Iterator, T, E> ForEach<I, T, E> {
    pub(crate) fn new(map: Map<I, T, E>) -> Self {
        Self(Driver::new(map))
    }

    /// Blocks this thread until all inputs are done.
    ///
    /// # Errors
    ///
    /// The first error; what is outstanding then is cancelled.
    pub fn wait(self) -> Result<(), CallError<E>> {
        block::block_on(self)
    }
}

impl<I: Iterator, T, E> Unpin for ForEach<I, T, E> {}

impl<I: Iterator, T, E> Future for ForEach<I, T, E> {
    type Output = Result<(), CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::task::ready!(self.0.poll_next(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    self.0.cancel();
                    return Poll::Ready(Err(error));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<I: Iterator, T, E> Wait for ForEach<I, T, E> {
    fn attend(&mut self, spin: &mut Spin, enough: &mut dyn FnMut() -> bool) {
        self.0.attend(spin, enough);
    }
}
