//! Maps: one function over many inputs.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use crate::api::context::CallId;
use crate::api::error::CallError;
use crate::api::failure::{Lost, Rejected, Startup};
use crate::api::options::Options;
use crate::api::retries::Retries;
use crate::caller::call::{Decoders, not_decodable};
use crate::caller::expected::{self, Expected};
use crate::caller::host::Host;
use crate::codec::CodecError;
use crate::codec::buffers;
use crate::codec::payload::{self, Packed, Payload};
use crate::engine::{PollIntent, Submitted, WaitTarget};
use crate::function::args::{EncodeError, Encoded};
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::caller::Caller;
use crate::job::delivery::{self, Deliver, Run};
use crate::job::outcome::{Failure, Outcome, failed, rejected};
use crate::scheduler::FunctionKey;
use crate::sys;
use crate::terminal;
use crate::wait::Waiter;
use crate::wait::block::{self, Wait};
use crate::wait::spin::Spin;

/// Least number of inputs that are taken ahead of the consumer, unless the map sets its own window.
const WINDOW: usize = 1024;

/// Most inputs that are taken ahead of the consumer.
const LARGEST_WINDOW: usize = 64 * 1024;

/// Size of the window as a multiple of the inputs that workers are given ahead of time: the rest is for
/// inputs that are done and wait for the consumer.
const WINDOWS: usize = 2;

/// Bytes of inputs that may be outstanding before no further ones are taken, however large the window is. The
/// lower bound is the default; the limit rises up to the upper bound if the workers need as many to stay
/// busy. Reusing memory is faster than touching more of it.
const WINDOW_BYTES: RangeInclusive<usize> = 8 * 1024 * 1024..=64 * 1024 * 1024;

/// Inputs, or chunks of small ones, that keep a worker busy: one that it works on, one that is in transit,
/// and as many again while those that are done wait for the consumer.
const BUSY: usize = 4;

/// Most inputs that are submitted at once.
const CHUNK: usize = 4096;

/// Least number of chunks in a window.
const CHUNKS: usize = 8;

/// After this many inputs in one chunk, use the cheaper but coarser clock.
const QUICK: u32 = 16;

/// Bytes of inputs that are submitted at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Pause after a failed start before another one is tried. It doubles with each further failure, up to the
/// longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time for which inputs are collected before they are submitted: an input iterator may be slow.
const CHUNK_TIME: Duration = Duration::from_micros(200);

type Encode<I> = fn(I, &mut Vec<u8>, usize) -> Encoded;

/// A function over many inputs, as a stub's `map` returns it. Nothing runs before it is consumed.
///
/// Each item is a `Result<T, CallError<E>>`, in the order of the inputs. A map is consumed in one of these
/// ways:
///
/// - as an iterator, `for result in map`, which blocks;
/// - as a [`stream`](Self::stream);
/// - with `.await`, which returns a `Vec` of all results;
/// - with [`try_collect`](Self::try_collect), which returns all values or the first error.
///
/// At most [`window`](Self::window) inputs are taken ahead of the consumer. Inputs are taken on the
/// consumer's thread: while the input iterator blocks, so does the consumer. Each input has its own
/// retries, timeout and deadline. Dropping the map, or what it is consumed by, cancels all outstanding
/// inputs. If the input iterator panics, the results of earlier inputs are delivered first, and then the
/// panic resumes in the consumer.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, function};
///
/// #[function]
/// fn parse(text: &str) -> Result<u64, String> {
///     text.parse().map_err(|_| format!("{text} is not a number"))
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let mut sum = 0;
///     for result in parse.map(["1", "two", "3"]) {
///         match result {
///             Ok(number) => sum += number,
///             Err(CallError::Function(text, context)) => {
///                 assert_eq!(text, "two is not a number");
///                 assert_eq!(context.input_index(), Some(1));
///             }
///             Err(error) => panic!("{error:?}"),
///         }
///     }
///     assert_eq!(sum, 4);
///
///     // The first error cancels the rest.
///     let all: Result<Vec<u64>, _> = parse.map(["1", "two", "3"]).try_collect().wait();
///     assert!(all.is_err());
/// }
/// ```
#[must_use = "a map does nothing unless it is consumed: loop over it, or `.await` it"]
pub struct Map<I: Iterator, T, E, Y = Unindexed> {
    host: Host,
    config: Option<Arc<[u8]>>,
    budget: Option<f64>,
    registration: &'static Registration,
    options: Options,
    decoders: Decoders<T, E>,
    inputs: I,
    encode: Encode<I::Item>,
    window: Option<usize>,
    max_buffered: Option<usize>,
    ordered: bool,
    yields: PhantomData<Y>,
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
            window: None,
            max_buffered: None,
            ordered: true,
            yields: PhantomData,
        }
    }
}

impl<I: Iterator, T, E, Y: Yields> Map<I, T, E, Y> {
    /// Sets the retry policy; each input has its own retries.
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.options = self.options.retries(retries);
        self
    }

    /// Limits the execution of one attempt.
    ///
    /// # Panics
    ///
    /// Panics if `timeout` is zero.
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options = self.options.timeout(timeout);
        self
    }

    /// Limits the attempts and delays of each input together, from the start of its first attempt.
    ///
    /// # Panics
    ///
    /// Panics if `deadline` is zero.
    #[track_caller]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// Sets the time that an input has to end by itself, once it is cancelled or times out, before its
    /// worker is killed.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options = self.options.grace(grace);
        self
    }

    /// Yields results as they arrive instead of in the order of the inputs.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// Limits the share of all attempts that may be retries, such as 0.1.
    ///
    /// Once the budget is used up, an input that fails is not retried, so that a service that is down is not
    /// asked more often. Ten retries are always allowed.
    ///
    /// # Panics
    ///
    /// Panics if `ratio` is not between 0 and 1.
    #[track_caller]
    pub fn retry_budget(mut self, ratio: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&ratio),
            "the retry budget of a map must be between 0.0 and 1.0"
        );
        self.budget = Some(ratio);
        self
    }

    /// Limits the inputs that are taken ahead of the consumer.
    ///
    /// The default is 1024, or as many as the workers execute in a few milliseconds, and at most 65 536. In
    /// addition, no further inputs are taken while more bytes of inputs are outstanding than keep the workers
    /// busy: 8 MiB, and with many workers or large inputs up to 64 MiB.
    ///
    /// # Panics
    ///
    /// Panics if `inputs` is zero.
    #[track_caller]
    pub fn window(mut self, inputs: usize) -> Self {
        assert!(inputs > 0, "the window of a map must be at least 1");
        self.window = Some(inputs);
        self
    }

    /// Limits the bytes of results that wait for the consumer.
    ///
    /// The default is 64 MiB, or the runtime's [`max_buffered`](crate::runtime::Builder::max_buffered).
    /// While more bytes are waiting, no further inputs are handed to workers. The results of inputs that
    /// the workers already have may come on top, and a single larger result still passes. In a map that
    /// keeps the order of the inputs, the input that the consumer waits for is never held back.
    ///
    /// # Panics
    ///
    /// Panics if `bytes` is zero.
    #[track_caller]
    pub fn max_buffered(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "max_buffered must be at least 1 byte");
        self.max_buffered = Some(bytes);
        self
    }

    /// Yields each result together with the position of its input, counted from zero.
    ///
    /// The items become `(usize, Result<T, CallError<E>>)`, and the values of
    /// [`try_collect`](Self::try_collect) `(usize, T)`. In an unordered map this tells which input an `Ok`
    /// belongs to. (An error has it as [`Context::input_index`](crate::Context::input_index).)
    ///
    /// ```no_run
    /// # #[retry_runtime::function] fn length(text: &str) -> usize { text.len() }
    /// let texts = vec![String::from("one"), String::from("three")];
    /// for (index, result) in length.map(&texts).unordered().indexed() {
    ///     println!("{}: {result:?}", texts[index]);
    /// }
    /// ```
    pub fn indexed(self) -> Map<I, T, E, Indexed> {
        Map {
            host: self.host,
            config: self.config,
            budget: self.budget,
            registration: self.registration,
            options: self.options,
            decoders: self.decoders,
            inputs: self.inputs,
            encode: self.encode,
            window: self.window,
            max_buffered: self.max_buffered,
            ordered: self.ordered,
            yields: PhantomData,
        }
    }

    /// Returns the results as a [`Stream`](futures_core::Stream).
    ///
    /// ```no_run
    /// # use retry_runtime::function;
    /// # use std::pin::pin;
    /// # #[function] fn length(text: &str) -> usize { text.len() }
    /// # async fn consume() {
    /// use futures_core::Stream;
    ///
    /// let mut lengths = pin!(length.map(["one", "three"]).stream());
    /// while let Some(result) = std::future::poll_fn(|cx| lengths.as_mut().poll_next(cx)).await {
    ///     println!("{result:?}");
    /// }
    /// # }
    /// ```
    pub fn stream(self) -> MapStream<I, T, E, Y> {
        MapStream(Driver::new(self))
    }

    /// Collects the values of all inputs; the first error cancels the rest.
    ///
    /// `.await` it, or [`wait`](TryCollect::wait) for it. The collection is any `Default + Extend`, such as
    /// a `Vec` or a `HashSet`.
    pub fn try_collect<C: Default + Extend<Y::Value<T>>>(self) -> TryCollect<I, T, E, C, Y> {
        TryCollect {
            driver: Driver::new(self),
            collected: C::default(),
        }
    }
}

impl<I: Iterator, T, E, Y> fmt::Debug for Map<I, T, E, Y> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("function", &self.registration.spec.name)
            .field("window", &self.window)
            .field("ordered", &self.ordered)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator, T, E, Y: Yields> IntoIterator for Map<I, T, E, Y> {
    type Item = Y::Item<T, E>;
    type IntoIter = MapIter<I, T, E, Y>;

    fn into_iter(self) -> Self::IntoIter {
        MapIter(Driver::new(self))
    }
}

impl<I: Iterator, T, E, Y: Yields> IntoFuture for Map<I, T, E, Y> {
    type Output = Vec<Y::Item<T, E>>;
    type IntoFuture = MapFuture<I, T, E, Y>;

    fn into_future(self) -> Self::IntoFuture {
        MapFuture {
            driver: Driver::new(self),
            collected: Vec::new(),
        }
    }
}

/// Decides the items of a [`Map`]: results, or results with the positions of their inputs.
///
/// The trait is sealed, and implemented for [`Unindexed`] and [`Indexed`] alone.
pub trait Yields: Sealed {
    /// The item for each input.
    type Item<T, E>;

    /// The value that is collected for an input that succeeded.
    type Value<T>;

    /// Whether the position of each input has to be known.
    #[doc(hidden)]
    const INDEXED: bool;

    /// Returns the item for a result. The position is always known if it has to be.
    #[doc(hidden)]
    fn item<T, E>(index: Option<u64>, result: Result<T, CallError<E>>) -> Self::Item<T, E>;

    #[doc(hidden)]
    fn value<T, E>(item: Self::Item<T, E>) -> Result<Self::Value<T>, CallError<E>>;
}

/// Marks a [`Map`] whose items are results.
#[derive(Debug)]
pub enum Unindexed {}

/// Marks a [`Map`] whose items are pairs of a position and a result: see [`Map::indexed`].
#[derive(Debug)]
pub enum Indexed {}

/// Keeps [`Yields`] from being implemented elsewhere.
pub trait Sealed {}

impl Sealed for Unindexed {}
impl Sealed for Indexed {}

impl Yields for Unindexed {
    type Item<T, E> = Result<T, CallError<E>>;
    type Value<T> = T;

    const INDEXED: bool = false;

    fn item<T, E>(_: Option<u64>, result: Result<T, CallError<E>>) -> Self::Item<T, E> {
        result
    }

    fn value<T, E>(item: Self::Item<T, E>) -> Result<T, CallError<E>> {
        item
    }
}

impl Yields for Indexed {
    type Item<T, E> = (usize, Result<T, CallError<E>>);
    type Value<T> = (usize, T);

    const INDEXED: bool = true;

    #[expect(
        clippy::cast_possible_truncation,
        reason = "so many inputs were counted in memory"
    )]
    fn item<T, E>(index: Option<u64>, result: Result<T, CallError<E>>) -> Self::Item<T, E> {
        let index = index.expect("a map with indices knows which inputs are left");
        (index as usize, result)
    }

    fn value<T, E>((index, result): Self::Item<T, E>) -> Result<(usize, T), CallError<E>> {
        result.map(|value| (index, value))
    }
}

/// The blocking iterator over the results of a [`Map`].
#[must_use = "iterators do nothing unless they are consumed"]
pub struct MapIter<I: Iterator, T, E, Y: Yields = Unindexed>(Driver<I, T, E, Y>);

impl<I: Iterator, T, E, Y: Yields> Iterator for MapIter<I, T, E, Y> {
    type Item = Y::Item<T, E>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.next_arrived() {
            Some(item) => Some(item),
            None => block::block_on(Next(&mut self.0)),
        }
    }
}

impl<I: Iterator, T, E, Y: Yields> FusedIterator for MapIter<I, T, E, Y> {}

/// The next result of a map.
struct Next<'a, I: Iterator, T, E, Y: Yields>(&'a mut Driver<I, T, E, Y>);

impl<I: Iterator, T, E, Y: Yields> Unpin for Next<'_, I, T, E, Y> {}

impl<I: Iterator, T, E, Y: Yields> Future for Next<'_, I, T, E, Y> {
    type Output = Option<Y::Item<T, E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0.poll_next(context)
    }
}

impl<I: Iterator, T, E, Y: Yields> Wait for Next<'_, I, T, E, Y> {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.0.park(until, waiter, spin);
    }
}

/// The stream of the results of a [`Map`]; see [`Map::stream`].
#[must_use = "streams do nothing unless they are polled"]
pub struct MapStream<I: Iterator, T, E, Y: Yields = Unindexed>(Driver<I, T, E, Y>);

impl<I: Iterator, T, E, Y: Yields> Unpin for MapStream<I, T, E, Y> {}

impl<I: Iterator, T, E, Y: Yields> futures_core::Stream for MapStream<I, T, E, Y> {
    type Item = Y::Item<T, E>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        terminal::polled(self.0.poll_next(context))
    }
}

/// The future of all results of a [`Map`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct MapFuture<I: Iterator, T, E, Y: Yields = Unindexed> {
    driver: Driver<I, T, E, Y>,
    collected: Vec<Y::Item<T, E>>,
}

impl<I: Iterator, T, E, Y: Yields> Unpin for MapFuture<I, T, E, Y> {}

impl<I: Iterator, T, E, Y: Yields> Future for MapFuture<I, T, E, Y> {
    type Output = Vec<Y::Item<T, E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.driver.poll_next(context) {
                Poll::Ready(Some(item)) => self.collected.push(item),
                Poll::Ready(None) => break,
                Poll::Pending => return terminal::polled(Poll::Pending),
            }
        }
        terminal::polled(Poll::Ready(std::mem::take(&mut self.collected)))
    }
}

/// The future of the values of a [`Map`], or of its first error; see [`Map::try_collect`].
#[must_use = "it does nothing unless it is awaited: add `.await`, or `.wait()` to block"]
pub struct TryCollect<I: Iterator, T, E, C, Y: Yields = Unindexed> {
    driver: Driver<I, T, E, Y>,
    collected: C,
}

impl<I: Iterator, T, E, C: Default + Extend<Y::Value<T>>, Y: Yields> TryCollect<I, T, E, C, Y> {
    /// Blocks this thread until all values have arrived.
    ///
    /// # Errors
    ///
    /// The first error of an input, any variant of [`CallError`]. The outstanding inputs are cancelled.
    pub fn wait(self) -> Result<C, CallError<E>> {
        block::block_on(self)
    }
}

impl<I: Iterator, T, E, C, Y: Yields> Unpin for TryCollect<I, T, E, C, Y> {}

impl<I: Iterator, T, E, C: Default + Extend<Y::Value<T>>, Y: Yields> Future
    for TryCollect<I, T, E, C, Y>
{
    type Output = Result<C, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let result = loop {
            match self.driver.poll_next(context) {
                Poll::Ready(Some(item)) => match Y::value(item) {
                    Ok(value) => self.collected.extend([value]),
                    Err(error) => {
                        self.driver.cancel();
                        break Poll::Ready(Err(error));
                    }
                },
                Poll::Ready(None) => break Poll::Ready(Ok(std::mem::take(&mut self.collected))),
                Poll::Pending => break Poll::Pending,
            }
        };
        terminal::polled(result)
    }
}

impl<I: Iterator, T, E, C: Default + Extend<Y::Value<T>>, Y: Yields> Wait
    for TryCollect<I, T, E, C, Y>
{
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.driver.park(until, waiter, spin);
    }
}

/// The state that a map shares with the code that delivers to it.
pub(crate) struct Shared {
    arrivals: Mutex<Arrivals>,
    /// Identifies the map among the callers that take turns.
    caller: Caller,
    host: Host,
}

struct Arrivals {
    /// Outcomes that can be handed out, in this order, with the index of the first input.
    ready: VecDeque<(u64, Outcome)>,
    /// Outcomes that arrived before their turn, by index; only for a map that keeps the order of the inputs.
    early: Option<Early>,
    /// The index whose outcome becomes ready next, if the order is kept.
    next: u64,
    /// Number of inputs with results, and the bytes of these inputs, that the consumer has not subtracted
    /// from its counts yet.
    returned: usize,
    returned_bytes: usize,
    /// Bytes of results that the consumer has not taken, and the limit above which no further inputs are
    /// given to workers.
    buffered: usize,
    most_buffered: usize,
    /// Whether the limit was exceeded, so that inputs are held back.
    held: bool,
    /// Whether the map has been cancelled and drops further outcomes.
    closed: bool,
    waker: Option<Waker>,
}

impl Shared {
    fn new(host: Host, ordered: bool, most_buffered: usize) -> Self {
        let arrivals = Arrivals {
            ready: VecDeque::new(),
            early: ordered.then(Early::default),
            next: 0,
            returned: 0,
            returned_bytes: 0,
            buffered: 0,
            most_buffered,
            held: false,
            closed: false,
            waker: None,
        };
        Self {
            arrivals: Mutex::new(arrivals),
            caller: Caller::new(),
            host,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the host to hold back the map's inputs or to release them, according to the arrivals at that
    /// moment.
    fn hold(&self) {
        self.host.hold(self.caller, || self.lock().hold());
    }

    /// Begins a delivery of outcomes.
    pub(crate) fn delivery(&self) -> Delivery<'_> {
        Delivery(self.lock())
    }
}

/// A delivery of outcomes to a map, which holds the map's lock.
pub(crate) struct Delivery<'a>(MutexGuard<'a, Arrivals>);

impl Delivery<'_> {
    /// Adds the outcome of inputs, the first of which has this index.
    pub(crate) fn put(&mut self, index: Option<u64>, inputs: &Payload, outcome: Outcome) {
        let arrivals = &mut *self.0;
        let Some(index) = index.filter(|_| !arrivals.closed) else {
            return;
        };
        arrivals.returned += inputs.count() as usize;
        arrivals.returned_bytes += inputs.size();
        arrivals.buffered += size_of_result(&outcome);
        if outcome.result.is_ok() {
            return arrivals.insert(index, outcome);
        }
        // An outcome that several inputs share is reported for each of them.
        for (index, call) in (index..).zip(outcome.call.following(inputs.count())) {
            let outcome = outcome.clone();
            arrivals.insert(index, Outcome { call, ..outcome });
        }
    }

    /// Wakes the consumer if there is something for it. Returns whether the limit on buffered results was
    /// exceeded just now: then the caller must [hold](Shared::hold) back the map's inputs.
    #[must_use]
    pub(crate) fn finish(mut self) -> bool {
        let arrivals = &mut *self.0;
        let holds = !arrivals.held && arrivals.buffered > arrivals.most_buffered;
        arrivals.held |= holds;
        let waker = if arrivals.ready.is_empty() {
            None
        } else {
            arrivals.waker.take()
        };
        drop(self);
        if let Some(waker) = waker {
            delivery::wake(waker);
        }
        holds
    }
}

impl Deliver for Shared {
    /// Takes the map's lock once for all outcomes.
    fn deliver(self: Arc<Self>, outcomes: Run<'_, '_>) {
        let mut delivery = self.delivery();
        for (job, outcome) in outcomes {
            delivery.put(job.index, &job.input, outcome);
        }
        if delivery.finish() {
            self.hold();
        }
    }
}

/// Returns how many bytes of a result an outcome retains.
fn size_of_result(outcome: &Outcome) -> usize {
    match &outcome.result {
        Ok(values) => values.size(),
        Err(Failure::Function(error)) => error.len(),
        Err(_) => 0,
    }
}

impl Arrivals {
    /// Returns whether inputs are held back, and which one is exempt: the one that the consumer waits for.
    /// Otherwise that input and the consumer would wait for each other.
    fn hold(&self) -> Option<Option<u64>> {
        let waits = self.early.is_some() && self.ready.is_empty();
        (self.held && !self.closed).then(|| waits.then_some(self.next))
    }

    /// Records that the consumer has taken results of this size in bytes. Returns whether the inputs that are
    /// held back must be released.
    fn consumed(&mut self, bytes: usize) -> bool {
        self.buffered = self.buffered.saturating_sub(bytes);
        let lets_go = self.held && self.buffered <= self.most_buffered / 2;
        self.held &= !lets_go;
        lets_go
    }

    fn insert(&mut self, index: u64, outcome: Outcome) {
        let Some(early) = &mut self.early else {
            self.ready.push_back((index, outcome));
            return;
        };
        if index != self.next {
            early.insert(index, outcome);
            return;
        }
        // This outcome, and those that have waited for it.
        let mut next = Some((index, outcome));
        while let Some((index, outcome)) = next {
            let values = outcome.result.as_ref();
            self.next += values.map_or(1, |values| u64::from(values.count()));
            self.ready.push_back((index, outcome));
            next = early.take(self.next);
        }
    }
}

/// Outcomes that arrived before their turn, by the index of the first input.
#[derive(Default)]
struct Early {
    /// Outcomes that arrived in the order of the inputs, as most do: a queue allocates nothing for each.
    rising: VecDeque<(u64, Outcome)>,
    /// Outcomes that arrived after one with a higher index.
    others: BTreeMap<u64, Outcome>,
}

impl Early {
    fn insert(&mut self, index: u64, outcome: Outcome) {
        if self.rising.back().is_some_and(|(last, _)| *last > index) {
            self.others.insert(index, outcome);
        } else {
            self.rising.push_back((index, outcome));
        }
    }

    /// Takes the outcome with this index, if that is the lowest one.
    fn take(&mut self, index: u64) -> Option<(u64, Outcome)> {
        let rising = self.rising.pop_front_if(|(first, _)| *first == index);
        rising.or_else(|| {
            let first = self.others.first_entry()?;
            (*first.key() == index).then(|| first.remove_entry())
        })
    }
}

/// Takes inputs, submits them and collects their outcomes.
struct Driver<I: Iterator, T, E, Y> {
    host: Host,
    config: Option<Arc<[u8]>>,
    budget: Option<Arc<Budget>>,
    registration: &'static Registration,
    options: Options,
    decoders: Decoders<T, E>,
    inputs: Option<I>,
    encode: Encode<I::Item>,
    window: usize,
    /// Whether the window adapts to throughput.
    adapts: bool,
    ordered: bool,
    shared: Arc<Shared>,
    arrived: VecDeque<(u64, Outcome)>,
    /// The values that are left of a packed payload, with the index and the call id of the next one.
    values: Option<(u64, CallId, Packed)>,
    next_index: u64,
    /// The inputs that were taken and not handed out. Kept only if each item needs its index and the order
    /// does not determine it.
    left: Option<Left>,
    /// Number of inputs that were taken and whose results were not handed out.
    pending: usize,
    /// Number of those whose results have not arrived.
    outstanding: usize,
    outstanding_bytes: usize,
    /// Limit on `outstanding_bytes`.
    window_bytes: usize,
    /// Size of the last chunk: the next one will be about as large.
    chunk_bytes: usize,
    /// A panic of the input iterator, to be resumed after all earlier results are handed out.
    panic: Option<Box<dyn Any + Send>>,
    /// The latest failed start: further inputs share it instead of trying to start workers again.
    startup: Option<FailedStart>,
    /// Bytes of results that were handed out and still count as buffered, and how many of them are worth
    /// taking the lock for.
    consumed: usize,
    worth_telling: usize,
    /// The function whose answers a waiting thread polls for.
    function: Option<FunctionKey>,
    /// For the display of the progress, if there is one.
    expected: Option<Arc<Expected>>,
    _guard: buffers::RetainGuard,
    yields: PhantomData<Y>,
}

/// A failed start of a worker that the map has reported.
struct FailedStart {
    startup: Startup,
    /// Until then, further inputs share the failure.
    until: Instant,
    pause: Duration,
}

impl<I: Iterator, T, E, Y: Yields> Driver<I, T, E, Y> {
    fn new(map: Map<I, T, E, Y>) -> Self {
        let most_buffered = map.max_buffered.unwrap_or_else(|| map.host.max_buffered());
        let shared = Shared::new(map.host.clone(), map.ordered, most_buffered);
        let expected = map.host.if_global().and_then(|engine| {
            let function = map.registration.pool().name;
            expected::begin(function, map.inputs.size_hint(), || engine.counts(function))
        });
        Self {
            host: map.host,
            expected,
            config: map.config,
            budget: map.budget.map(|ratio| Arc::new(Budget::new(ratio))),
            registration: map.registration,
            options: map.options,
            decoders: map.decoders,
            inputs: Some(map.inputs),
            encode: map.encode,
            window: map.window.unwrap_or(WINDOW),
            adapts: map.window.is_none(),
            ordered: map.ordered,
            shared: Arc::new(shared),
            arrived: VecDeque::new(),
            values: None,
            next_index: 0,
            left: (Y::INDEXED && !map.ordered).then(Left::default),
            pending: 0,
            outstanding: 0,
            outstanding_bytes: 0,
            window_bytes: *WINDOW_BYTES.start(),
            chunk_bytes: 0,
            panic: None,
            startup: None,
            consumed: 0,
            worth_telling: most_buffered / 16,
            function: None,
            _guard: buffers::RetainGuard::new(),
            yields: PhantomData,
        }
    }

    /// Returns a result that has already arrived, as long as the workers have enough to do.
    fn next_arrived(&mut self) -> Option<Y::Item<T, E>> {
        // Submit inputs by the chunk: a submission for each result would cost a lock, a system call and a
        // wake-up each.
        let room = self.window.saturating_sub(self.pending);
        if self.inputs.is_some() && self.outstanding < self.window / 2 && room >= self.chunk() {
            return None;
        }
        self.hand_out()
    }

    /// Returns how many inputs are submitted at once.
    fn chunk(&self) -> usize {
        (self.window / CHUNKS).clamp(1, CHUNK)
    }

    fn hand_out(&mut self) -> Option<Y::Item<T, E>> {
        let left = self.values.as_ref().map_or(0, |(.., values)| values.len());
        if left == 0 {
            let (index, mut outcome) = self.arrived.pop_front()?;
            self.consumed += size_of_result(&outcome);
            if self.consumed > self.worth_telling && !self.host.is_foreign() {
                self.tell_consumed();
            }
            match outcome.result {
                Ok(Payload::Several(values)) => {
                    self.startup = None;
                    self.values = Some((index, outcome.call, values));
                }
                result => {
                    outcome.result = result;
                    self.pending -= 1;
                    self.note_start(&outcome);
                    let decode = self.decoders.outcome;
                    let result = decode(self.registration, Some(index), outcome);
                    return Some(self.item(index, result));
                }
            }
        }
        let (index, call, values) = self.values.as_mut()?;
        self.pending -= 1;
        let (this, which) = (*index, *call);
        *index += 1;
        call.0 += 1;
        // Decoding may panic; the panic then stands for this result.
        let value = values.read(self.decoders.value_in_place)?;
        if values.len() == 0 {
            self.values = None;
        }
        let function = self.registration;
        let result = value.map_err(|error| not_decodable(function, which, Some(this), &error));
        Some(self.item(this, result))
    }

    /// Creates the item for an input's result, and marks the input as handed out.
    fn item(&mut self, index: u64, result: Result<T, CallError<E>>) -> Y::Item<T, E> {
        if Y::INDEXED
            && let Some(left) = &mut self.left
        {
            left.remove(index);
        }
        Y::item(Some(index), result)
    }

    fn poll_next(&mut self, context: &mut task::Context<'_>) -> Poll<Option<Y::Item<T, E>>> {
        loop {
            if self.host.is_foreign() {
                return Poll::Ready(self.next_in_fork());
            }
            if let Some(item) = self.next_arrived() {
                return Poll::Ready(Some(item));
            }
            let more = self.feed();
            if self.host.is_foreign() {
                // The input iterator has forked.
                continue;
            }
            if let Some(item) = self.hand_out() {
                return Poll::Ready(Some(item));
            }
            let mut arrivals = self.shared.lock();
            self.outstanding -= std::mem::take(&mut arrivals.returned);
            self.outstanding_bytes -= std::mem::take(&mut arrivals.returned_bytes);
            // Everything that had arrived before has been handed out.
            std::mem::swap(&mut self.arrived, &mut arrivals.ready);
            if !self.arrived.is_empty() {
                drop(arrivals);
                // Return it even if there is room for more inputs, because the iterator may be slow.
                return Poll::Ready(self.hand_out());
            }
            if more {
                continue;
            }
            if self.pending == 0 {
                self.expected = None;
                drop(arrivals);
                return match self.panic.take() {
                    Some(panic) => resume_unwind(panic),
                    None => Poll::Ready(None),
                };
            }
            arrivals.waker = Some(context.waker().clone());
            let lets_go = arrivals.consumed(std::mem::take(&mut self.consumed));
            let is_held = arrivals.held;
            drop(arrivals);
            if lets_go || is_held {
                // The input that the consumer waits for may have changed.
                self.shared.hold();
            }
            return Poll::Pending;
        }
    }

    /// Subtracts results that were handed out from the count of buffered bytes.
    fn tell_consumed(&mut self) {
        let consumed = std::mem::take(&mut self.consumed);
        if self.shared.lock().consumed(consumed) {
            self.shared.hold();
        }
    }

    /// Returns the next result in a child that was forked from the process that owns this map: results that
    /// had arrived before, and an error for each other input. Takes no lock of the parent's.
    #[cold]
    fn next_in_fork(&mut self) -> Option<Y::Item<T, E>> {
        if let Some(item) = self.hand_out() {
            return Some(item);
        }
        let failure = if self.pending > 0 {
            Failure::Lost(Lost::Forked)
        } else if self.next_input().is_some() {
            self.take(1);
            Failure::Rejected(Rejected::Forked)
        } else if let Some(panic) = self.panic.take() {
            resume_unwind(panic);
        } else {
            return None;
        };
        // In a map that does not keep the order, the remaining inputs are known only if `left` records them.
        let index = match &mut self.left {
            Some(left) => left.take_first(),
            None => self.ordered.then(|| self.next_index - self.pending as u64),
        };
        self.pending -= 1;
        let result = (self.decoders.outcome)(self.registration, index, failed(failure));
        Some(Y::item(index, result))
    }

    /// Polls for answers until the thread is woken, `until` is reached or `spin` gives up.
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        let target = self.function.map_or(WaitTarget::To(None), WaitTarget::Of);
        self.host.poll_until(target, until, waiter, spin);
    }

    /// Takes inputs and submits them, at most one chunk. Returns whether there is room for more.
    fn feed(&mut self) -> bool {
        let limit = self.host.max_message();
        let room = |driver: &Self, taken: u32, bytes: usize| {
            let taken = taken as usize;
            driver.inputs.is_some()
                && driver.pending + taken < driver.window
                && taken < driver.chunk()
                && bytes < CHUNK_BYTES
                && (driver.outstanding == 0 && taken == 0
                    || driver.outstanding_bytes + bytes < driver.window_bytes)
        };
        if !room(self, 0, 0) {
            return false;
        }
        let (begun, tick) = (Instant::now(), sys::coarse_nanos());
        let mut buffer = buffers::ENCODED.room(self.chunk_bytes);
        let mut count = 0;
        let mut refused = None;
        let mut whole = None;
        while room(self, count, buffer.len()) {
            let late = match count {
                ..QUICK => begun.elapsed() > CHUNK_TIME,
                _ => sys::coarse_nanos() != tick,
            };
            if late {
                break;
            }
            let Some(input) = self.next_input() else {
                break;
            };
            let start = payload::begin(&mut buffer);
            // The limit applies to one input; the buffer holds several.
            let most = start.saturating_add(limit);
            let encode = || (self.encode)(input, &mut buffer, most);
            match catch_unwind(AssertUnwindSafe(encode)) {
                Ok(Ok(None)) => {
                    payload::end(&mut buffer, start);
                    count += 1;
                    continue;
                }
                Ok(Ok(large)) => whole = large,
                Ok(Err((parameter, error))) => {
                    refused = Some(refuse(self.registration, parameter, error, limit));
                }
                // A panic of the encoder counts as a panic of the iterator at this input's position.
                Err(panic) => {
                    self.panic = Some(panic);
                    self.end_inputs();
                }
            }
            buffer.truncate(start - payload::PREFIX);
            break;
        }
        self.chunk_bytes = buffer.len();
        // The buffer may have been sized for a much larger chunk, and may be retained for long.
        if buffer.len() < buffer.capacity() / 2 {
            buffer.shrink_to_fit();
        }
        if count > 0 {
            self.submit(Payload::new(count, buffers::ENCODED.lend(buffer)));
        }
        if let Some(input) = whole {
            self.submit(Payload::One(input));
        }
        if let Some(reason) = refused {
            let index = self.take(1);
            if !self.host.is_foreign() {
                // The scheduler does not count this input.
                if let Some(expected) = &self.expected {
                    expected.submitted(1);
                }
                let delivery = &mut self.shared.delivery();
                delivery.put(index, &Payload::NONE, rejected(reason));
            }
        }
        self.inputs.is_some()
            && self.pending < self.window
            && self.outstanding_bytes < self.window_bytes
    }

    /// Records whether a start failed, according to the outcome of an input.
    fn note_start(&mut self, outcome: &Outcome) {
        match &outcome.result {
            Err(Failure::Startup(startup)) => {
                let now = Instant::now();
                let pause = match &self.startup {
                    Some(known) if now < known.until => return,
                    Some(known) => (2 * known.pause).min(LONGEST_PAUSE),
                    None => FIRST_PAUSE,
                };
                self.startup = Some(FailedStart {
                    startup: startup.clone(),
                    until: now + pause,
                    pause,
                });
            }
            Ok(_) => self.startup = None,
            Err(_) => {}
        }
    }

    /// Returns why the function's workers fail to start, if that was found out recently and no worker has
    /// become ready since: then the start is not tried again for each further input.
    fn recent_start_failure(&self) -> Option<Startup> {
        let known = self.startup.as_ref()?;
        let is_recent = Instant::now() < known.until;
        let is_served = self
            .function
            .is_some_and(|function| self.host.is_served(function));
        (is_recent && !is_served).then(|| known.startup.clone())
    }

    /// Counts inputs that were taken. Returns the index of the first one.
    fn take(&mut self, count: u32) -> Option<u64> {
        let first = self.next_index;
        self.next_index += u64::from(count);
        if Y::INDEXED
            && let Some(left) = &mut self.left
        {
            left.push(first..self.next_index);
        }
        self.pending += count as usize;
        self.outstanding += count as usize;
        Some(first)
    }

    fn next_input(&mut self) -> Option<I::Item> {
        let inputs = self.inputs.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| inputs.next())) {
            Ok(Some(input)) => Some(input),
            Ok(None) => {
                self.end_inputs();
                None
            }
            Err(panic) => {
                self.panic = Some(panic);
                self.end_inputs();
                None
            }
        }
    }

    fn end_inputs(&mut self) {
        self.inputs = None;
        if let Some(expected) = &self.expected {
            expected.ended();
        }
    }

    fn submit(&mut self, inputs: Payload) {
        let index = self.take(inputs.count());
        self.outstanding_bytes += inputs.size();
        if let Some(expected) = &self.expected {
            expected.submitted(inputs.count());
        }
        if self.host.is_foreign() {
            return;
        }
        if let Some(startup) = self.recent_start_failure() {
            let mut outcome = rejected(Rejected::ShutDown);
            outcome.result = Err(Failure::Startup(startup));
            return self.shared.delivery().put(index, &inputs, outcome);
        }
        let options = self.options.over(self.host.options());
        let callee = Callee {
            registration: self.registration,
            config: self.config.clone(),
            policy: options.policy(self.registration.spec),
            budget: self.budget.clone(),
        };
        let job = Job {
            target: Arc::clone(&self.shared) as Arc<dyn Deliver>,
            number: 0,
            index,
            input: inputs.clone(),
            caller: self.shared.caller,
            method: self.registration.place(),
        };
        match self.host.submit(&callee, [job], PollIntent::No, |_| {}) {
            Ok(Some(Submitted {
                function,
                ahead,
                most_workers,
                ..
            })) => {
                self.function = Some(function);
                let each = CHUNK_BYTES.max(inputs.size() / inputs.count() as usize);
                let busy = most_workers.saturating_mul(each).saturating_mul(BUSY);
                self.window_bytes = busy.clamp(*WINDOW_BYTES.start(), *WINDOW_BYTES.end());
                if self.adapts {
                    self.window = (WINDOWS * ahead).clamp(WINDOW, LARGEST_WINDOW);
                }
            }
            Ok(None) => {}
            Err(reason) => {
                let outcome = rejected(reason);
                self.shared.delivery().put(index, &inputs, outcome);
            }
        }
    }
}

impl<I: Iterator, T, E, Y> Driver<I, T, E, Y> {
    /// Cancels all outstanding inputs.
    fn cancel(&mut self) {
        self.inputs = None;
        self.expected = None;
        if self.host.is_foreign() {
            self.pending = 0;
            self.arrived.clear();
            self.values = None;
            return;
        }
        let mut arrivals = self.shared.lock();
        let outstanding = self.outstanding - std::mem::take(&mut arrivals.returned);
        arrivals.closed = true;
        let was_held = std::mem::take(&mut arrivals.held);
        let early = arrivals.early.as_mut().map(std::mem::take);
        let ready = std::mem::take(&mut arrivals.ready);
        drop(arrivals);
        drop((early, ready));
        if was_held {
            self.shared.hold();
        }
        self.pending = 0;
        self.outstanding = 0;
        self.arrived.clear();
        self.values = None;
        if outstanding > 0 {
            let target: Arc<dyn Deliver> = Arc::clone(&self.shared) as _;
            self.host.cancel_all(&target);
        }
    }
}

impl<I: Iterator, T, E, Y> Drop for Driver<I, T, E, Y> {
    fn drop(&mut self) {
        self.cancel();
    }
}

macro_rules! debug {
    ($([$($generics:tt)*] $name:ident<$($parameter:ident),*>.$driver:tt;)*) => {
        $(
            impl<I: Iterator, T, E, $($generics)*> fmt::Debug for $name<I, T, E, $($parameter),*> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    let driver = &self.$driver;
                    f.debug_struct(stringify!($name))
                        .field("function", &driver.registration.spec.name)
                        .field("taken", &driver.next_index)
                        .field("pending", &driver.pending)
                        .finish_non_exhaustive()
                }
            }
        )*
    };
}

debug! {
    [Y: Yields] MapIter<Y>.0;
    [Y: Yields] MapStream<Y>.0;
    [Y: Yields] MapFuture<Y>.driver;
    [C, Y: Yields] TryCollect<C, Y>.driver;
    [] ForEach<>.0;
}

/// Indices of inputs whose results were not handed out, as ranges keyed by their starts: there are at most as
/// many ranges as inputs, however far apart the indices are.
#[derive(Default)]
struct Left(BTreeMap<u64, u64>);

impl Left {
    /// Adds indices that are above all others.
    fn push(&mut self, range: Range<u64>) {
        match self.0.last_entry() {
            Some(mut last) if *last.get() == range.start => *last.get_mut() = range.end,
            _ => {
                self.0.insert(range.start, range.end);
            }
        }
    }

    fn remove(&mut self, index: u64) {
        let Some((&start, end)) = self.0.range_mut(..=index).next_back() else {
            return;
        };
        let end = std::mem::replace(end, index);
        if start == index {
            self.0.remove(&start);
        }
        if index + 1 < end {
            self.0.insert(index + 1, end);
        }
    }

    fn take_first(&mut self) -> Option<u64> {
        let first = *self.0.first_key_value()?.0;
        self.remove(first);
        Some(first)
    }
}

/// Returns the rejection for an input that cannot be sent.
pub(crate) fn refuse(
    registration: &'static Registration,
    parameter: usize,
    error: EncodeError,
    limit: usize,
) -> Rejected {
    let parameter = registration.spec.parameter(parameter);
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

/// The future of a function that runs over many inputs for its effects, as a stub's `for_each` returns it.
#[must_use = "it does nothing unless it is awaited: add `.await`, or `.wait()` to block"]
pub struct ForEach<I: Iterator, T, E>(Driver<I, T, E, Unindexed>);

impl<I: Iterator, T, E> ForEach<I, T, E> {
    #[doc(hidden)]
    pub fn new(map: Map<I, T, E>) -> Self {
        Self(Driver::new(map))
    }

    /// Blocks this thread until all inputs are done.
    ///
    /// # Errors
    ///
    /// The first error of an input, any variant of [`CallError`]. The outstanding inputs are cancelled.
    pub fn wait(self) -> Result<(), CallError<E>> {
        block::block_on(self)
    }
}

impl<I: Iterator, T, E> Unpin for ForEach<I, T, E> {}

impl<I: Iterator, T, E> Future for ForEach<I, T, E> {
    type Output = Result<(), CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let result = loop {
            match self.0.poll_next(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => {
                    self.0.cancel();
                    break Poll::Ready(Err(error));
                }
                Poll::Ready(None) => break Poll::Ready(Ok(())),
                Poll::Pending => break Poll::Pending,
            }
        };
        terminal::polled(result)
    }
}

impl<I: Iterator, T, E> Wait for ForEach<I, T, E> {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.0.park(until, waiter, spin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_tracks_the_indices_of_an_unordered_map() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut left, mut expected) = (Left::default(), std::collections::BTreeSet::new());
        let mut next = 0;
        for _ in 0..2000 {
            if random.bool() {
                let range = next..next + random.u64(1..5);
                next = range.end;
                expected.extend(range.clone());
                left.push(range);
            } else if let Some(&index) = random.choice(&expected.iter().collect::<Vec<_>>()) {
                let index = *index;
                expected.remove(&index);
                left.remove(index);
            }
            assert!(left.0.len() <= expected.len());
            assert!(
                left.0
                    .iter()
                    .flat_map(|(start, end)| *start..*end)
                    .eq(expected.iter().copied())
            );
        }
        assert!(std::iter::from_fn(|| left.take_first()).eq(expected));
    }

    #[test]
    fn results_are_handed_out_in_input_order() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut indices: Vec<u64> = (0..1000).collect();
        for order in 0..3 {
            indices.sort_unstable();
            match order {
                // Every second one late, the first ones late, and no order at all.
                0 => indices.sort_by_key(|index| (index % 2 == 0, *index)),
                1 => indices.rotate_left(3),
                _ => random.shuffle(&mut indices),
            }
            let shared = Shared::new(Host::global(), true, usize::MAX);
            for index in &indices {
                let outcome = Outcome {
                    call: CallId(*index),
                    result: Ok(Payload::NONE),
                    history: None,
                };
                shared.lock().insert(*index, outcome);
            }
            let ready = std::mem::take(&mut shared.lock().ready);
            assert!(ready.into_iter().map(|(index, _)| index).eq(0..1000));
        }
    }
}
