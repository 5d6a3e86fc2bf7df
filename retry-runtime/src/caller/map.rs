//! Maps: one function over many inputs.

mod arrivals;
mod driver;
mod flow;
mod left;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::panic::Location;
#[cfg(feature = "checkpoint")]
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use crate::api::error::CallError;
use crate::api::failure::Rejected;
use crate::api::options::Options;
use crate::api::retries::Retries;
use crate::caller::call::Decoders;
use crate::caller::host::Host;
use crate::checkpoint::Describe;
use crate::codec::CodecError;
use crate::function::args::{ArgumentError, Encoded};
use crate::function::registry::Registration;
use crate::function::service_config::ServiceConfig;
use crate::runtime_thread;
use crate::spans;
use crate::terminal;
use crate::wait::Waiter;
use crate::wait::block::{self, Wait};
use crate::wait::spin::Spin;

use driver::MapDriver;

type Encode<I> = fn(I, &mut Vec<u8>, usize) -> Encoded;

/// A function over many inputs, as a stub's `map` returns it. Nothing runs before it is consumed.
///
/// Each item is a `Result<T, CallError<E>>`, in the order of the inputs. A map is consumed in one of these
/// ways:
///
/// - as an iterator, `for result in map`, which blocks, and panics on a thread that drives a tokio runtime;
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
    settings: Settings,
    decoders: Decoders<T, E>,
    inputs: I,
    encode: Encode<I::Item>,
    yields: PhantomData<Y>,
}

/// The function of a map and its settings.
struct Settings {
    host: Host,
    /// The line of the program that made the map.
    called: &'static Location<'static>,
    spans: spans::Context,
    config: Option<ServiceConfig>,
    budget: Option<f64>,
    registration: &'static Registration,
    options: Options,
    window: Option<usize>,
    max_buffered: Option<usize>,
    ordered: bool,
    #[cfg_attr(not(feature = "checkpoint"), allow(dead_code))]
    describe: Describe,
    #[cfg(feature = "checkpoint")]
    checkpoint: Option<PathBuf>,
}

impl<I: Iterator, T, E> Map<I, T, E> {
    #[track_caller]
    #[expect(clippy::too_many_arguments, reason = "all of them come from the stub")]
    pub(crate) fn new(
        host: Host,
        config: Option<ServiceConfig>,
        registration: &'static Registration,
        options: Options,
        decoders: Decoders<T, E>,
        inputs: I,
        encode: Encode<I::Item>,
        describe: Describe,
    ) -> Self {
        let settings = Settings {
            host,
            called: Location::caller(),
            spans: spans::Context::current(),
            config,
            budget: None,
            registration,
            options,
            window: None,
            max_buffered: None,
            ordered: true,
            describe,
            #[cfg(feature = "checkpoint")]
            checkpoint: None,
        };
        Self {
            settings,
            decoders,
            inputs,
            encode,
            yields: PhantomData,
        }
    }
}

impl<I: Iterator, T, E, Y: Yields> Map<I, T, E, Y> {
    /// Sets the retry policy; each input has its own retries.
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.settings.options = self.settings.options.retries(retries);
        self
    }

    /// Limits the execution of one attempt.
    ///
    /// # Panics
    ///
    /// Panics if `timeout` is zero.
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.options = self.settings.options.timeout(timeout);
        self
    }

    /// Limits the attempts and delays of each input together, from the start of its first attempt.
    ///
    /// # Panics
    ///
    /// Panics if `deadline` is zero.
    #[track_caller]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.options = self.settings.options.deadline(deadline);
        self
    }

    /// Sets the time that an input has to end by itself, once it is cancelled or times out, before its
    /// worker is killed.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.options = self.settings.options.grace(grace);
        self
    }

    /// Yields results as they arrive instead of in the order of the inputs.
    pub fn unordered(mut self) -> Self {
        self.settings.ordered = false;
        self
    }

    /// Limits the share of all attempts that may be retries, such as 0.1.
    ///
    /// Once the budget is used up, an input that fails is not retried, so that a service that is down is not
    /// asked more often. Ten retries are always allowed.
    ///
    /// ```no_run
    /// # use retry_runtime::function;
    /// # #[function] fn fetch(page: u32) -> Result<String, String> { Ok(format!("page {page}")) }
    /// // Each page is retried up to five times, as long as at most a tenth of all attempts are retries.
    /// for result in fetch.map(0..10_000).retries(5).retry_budget(0.1) {
    ///     println!("{result:?}");
    /// }
    /// ```
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
        self.settings.budget = Some(ratio);
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
        self.settings.window = Some(inputs);
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
        self.settings.max_buffered = Some(bytes);
        self
    }

    /// Keeps the results in a file, from which the same map continues after the program has ended.
    ///
    /// Each result that a function returns, or each `Ok` if it returns a `Result`, is stored in the file at
    /// `path`, an embedded database that is created if it does not exist. A map that finds the result of an
    /// input in the file yields it without running anything, in its place among the other results. Inputs
    /// that failed, and those whose results were not stored in time, run again.
    ///
    /// A result belongs to a function, to the bytes of the encoded input, and to the number of equal inputs
    /// before it in the same map. So inputs may be reordered, left out or added, and an input that occurs
    /// twice has two results. A `HashMap` in an input has another encoding each time: use a `BTreeMap`.
    ///
    /// A result is written at most 100 ms after it arrived, or sooner if 8 MiB are waiting, and is on disk
    /// when that write ends. When the map ends or is dropped, its thread waits until everything is on disk.
    /// A program that is killed, at any moment, loses the results that were not on disk, and nothing else.
    ///
    /// Opening the file and looking results up take place on the thread that consumes the map. The file may
    /// have results of several functions, and several maps of one process may use it at once.
    ///
    /// The map keeps about 30 bytes of memory for each different input. Results that wait to be written
    /// count towards [`max_buffered`](Self::max_buffered).
    ///
    /// # Errors
    ///
    /// The map itself does not fail. Each of its inputs ends as
    /// [`Rejected::Checkpoint`](crate::error::Rejected::Checkpoint), which names the file and the reason, if:
    ///
    /// - another process uses the file;
    /// - the file is not a checkpoint, or cannot be opened or created;
    /// - the file has results of another version of the function: `#[function(version = "..")]` differs, or
    ///   the types of its arguments or of its result differ in their structure;
    /// - the map runs inside a worker process, which has no file of its own.
    ///
    /// If writing fails later, as on a full disk, calls that are under way still yield their results, and
    /// further inputs are rejected.
    ///
    /// ```standalone_crate
    /// use retry_runtime::function;
    ///
    /// #[function(version = "1")]
    /// fn square(number: u64) -> u64 {
    ///     number * number
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     let file = std::env::temp_dir().join(format!("squares-{}.db", std::process::id()));
    ///     for _ in 0..2 {
    ///         // The second time, nothing runs.
    ///         let squares = square.map(0..100).checkpoint(&file).into_iter();
    ///         assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 328_350);
    ///     }
    ///     std::fs::remove_file(file).unwrap();
    /// }
    /// ```
    #[cfg(feature = "checkpoint")]
    #[cfg_attr(docsrs, doc(cfg(feature = "checkpoint")))]
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.checkpoint = Some(path.into());
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
            settings: self.settings,
            decoders: self.decoders,
            inputs: self.inputs,
            encode: self.encode,
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
        MapStream(MapDriver::new(self))
    }

    /// Collects the values of all inputs; the first error cancels the rest.
    ///
    /// `.await` it, or [`wait`](TryCollect::wait) for it. The collection is any `Default + Extend`, such as
    /// a `Vec` or a `HashSet`.
    ///
    /// ```no_run
    /// # use retry_runtime::{CallError, function};
    /// # #[function] fn parse(text: &str) -> Result<u64, String> { text.parse().map_err(|_| text.to_owned()) }
    /// # fn main() -> Result<(), CallError<String>> {
    /// let numbers: Vec<u64> = parse.map(["1", "2"]).try_collect().wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_collect<C: Default + Extend<Y::Value<T>>>(self) -> TryCollect<I, T, E, C, Y> {
        TryCollect {
            driver: MapDriver::new(self),
            collected: C::default(),
        }
    }
}

impl<I: Iterator, T, E, Y> fmt::Debug for Map<I, T, E, Y> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("function", &self.settings.registration.spec.name)
            .field("window", &self.settings.window)
            .field("ordered", &self.settings.ordered)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator, T, E, Y: Yields> IntoIterator for Map<I, T, E, Y> {
    type Item = Y::Item<T, E>;
    type IntoIter = MapIter<I, T, E, Y>;

    #[track_caller]
    fn into_iter(self) -> Self::IntoIter {
        MapIter {
            driver: MapDriver::new(self),
            unchecked: Some(Location::caller()),
        }
    }
}

impl<I: Iterator, T, E, Y: Yields> IntoFuture for Map<I, T, E, Y> {
    type Output = Vec<Y::Item<T, E>>;
    type IntoFuture = MapFuture<I, T, E, Y>;

    fn into_future(self) -> Self::IntoFuture {
        MapFuture {
            driver: MapDriver::new(self),
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

    /// `true` if the position of each input has to be known.
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
///
/// # Panics
///
/// Its `next` panics on a thread that drives a tokio runtime, which it would block: `.await` the map there, or
/// use its [`stream`](Map::stream). Inside `spawn_blocking` and `block_in_place` it may be called.
#[must_use = "iterators do nothing unless they are consumed"]
pub struct MapIter<I: Iterator, T, E, Y: Yields = Unindexed> {
    driver: MapDriver<I, T, E, Y>,
    /// The place where the iterator was made; `None` once it has blocked a thread that may be blocked, since
    /// that is not checked again. Behind adaptors, the caller of `next` is in the standard library.
    unchecked: Option<&'static Location<'static>>,
}

impl<I: Iterator, T, E, Y: Yields> Iterator for MapIter<I, T, E, Y> {
    type Item = Y::Item<T, E>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(item) = self.driver.next_arrived() {
            return Some(item);
        }
        if let Some(place) = self.unchecked {
            let what = format_args!("the iterator of a map, made at {place},");
            runtime_thread::refuse(what, "`map.await` or `map.stream()`");
            self.unchecked = None;
        }
        block::block_on(Next(&mut self.driver))
    }
}

impl<I: Iterator, T, E, Y: Yields> FusedIterator for MapIter<I, T, E, Y> {}

/// The next result of a map.
struct Next<'a, I: Iterator, T, E, Y: Yields>(&'a mut MapDriver<I, T, E, Y>);

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
pub struct MapStream<I: Iterator, T, E, Y: Yields = Unindexed>(MapDriver<I, T, E, Y>);

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
    driver: MapDriver<I, T, E, Y>,
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
    driver: MapDriver<I, T, E, Y>,
    collected: C,
}

impl<I: Iterator, T, E, C: Default + Extend<Y::Value<T>>, Y: Yields> TryCollect<I, T, E, C, Y> {
    /// Blocks this thread until all values have arrived.
    ///
    /// # Errors
    ///
    /// The first error of an input, any variant of [`CallError`]. The outstanding inputs are cancelled.
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block: write `.await` there. Inside
    /// `spawn_blocking` and `block_in_place` it may be called.
    #[track_caller]
    pub fn wait(self) -> Result<C, CallError<E>> {
        runtime_thread::refuse(format_args!("`.wait()`"), "`.await`");
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

/// Returns the rejection for an input that cannot be sent.
pub(crate) fn refuse(
    registration: &'static Registration,
    parameter: usize,
    error: ArgumentError,
    limit: usize,
) -> Rejected {
    let spec = registration.spec;
    let name = spec.parameter(parameter).into();
    match error.0 {
        CodecError::TooLarge(_) => Rejected::TooLarge {
            parameter: name,
            limit,
        },
        CodecError::Invalid(reason) => Rejected::NotEncodable {
            parameter: name,
            reason: spec.reason(parameter, reason).into(),
        },
    }
}

/// The future of a function that runs over many inputs for its effects, as a stub's `for_each` returns it.
#[must_use = "it does nothing unless it is awaited: add `.await`, or `.wait()` to block"]
pub struct ForEach<I: Iterator, T, E>(MapDriver<I, T, E, Unindexed>);

impl<I: Iterator, T, E> ForEach<I, T, E> {
    #[doc(hidden)]
    pub fn new(map: Map<I, T, E>) -> Self {
        Self(MapDriver::new(map))
    }

    /// Blocks this thread until all inputs are done.
    ///
    /// # Errors
    ///
    /// The first error of an input, any variant of [`CallError`]. The outstanding inputs are cancelled.
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block: write `.await` there. Inside
    /// `spawn_blocking` and `block_in_place` it may be called.
    #[track_caller]
    pub fn wait(self) -> Result<(), CallError<E>> {
        runtime_thread::refuse(format_args!("`.wait()`"), "`.await`");
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

macro_rules! debug {
    ($([$($generics:tt)*] $name:ident<$($parameter:ident),*>.$driver:tt;)*) => {
        $(
            impl<I: Iterator, T, E, $($generics)*> fmt::Debug for $name<I, T, E, $($parameter),*> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.$driver.flow.describe(stringify!($name), f)
                }
            }
        )*
    };
}

debug! {
    [Y: Yields] MapIter<Y>.driver;
    [Y: Yields] MapStream<Y>.0;
    [Y: Yields] MapFuture<Y>.driver;
    [C, Y: Yields] TryCollect<C, Y>.driver;
    [] ForEach<>.0;
}
