//! Single calls: [`Call`] and [`FunctionCall`].

mod lazy;

use std::fmt;
use std::future::Future;
use std::mem::take;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use crate::api::call_id::{CallId, CallNumber};
use crate::api::context::Context;
use crate::api::error::CallError;
use crate::api::failure::{Lost, Rejected};
use crate::api::options::Options;
use crate::api::retries::Retries;
use crate::api::run::RunId;
use crate::caller::host::Host;
use crate::checkpoint::Describe;
use crate::checkpoint::cache::CachePlace;
use crate::codec::payload::Payload;
use crate::codec::{self, CodecError, Wire};
use crate::function::registry::Registration;
use crate::function::service_config::ServiceConfig;
use crate::job::caller::Caller;
use crate::job::delivery::Deliver;
use crate::job::outcome::{CallKey, Failure, History, Outcome, rejected};
use crate::job::slot::Slot;
use crate::job::{Encoded, Job};
use crate::local::{PollIntent, WaitTarget};
use crate::runtime_thread;
use crate::shared::Objects;
use crate::spans;
use crate::terminal;
use crate::wait::Waiter;
use crate::wait::block::{self, Wait};
use crate::wait::spin::Spin;

use lazy::{LazyCall, keep, outcome_in_fork};

/// Decodes an outcome into the result that the caller gets, given the run of the call and the index of its
/// input.
pub(crate) type Decode<T, E> =
    fn(&'static Registration, RunId, Option<u64>, Outcome) -> Result<T, CallError<E>>;

/// The decoders of a function's results.
pub(crate) struct Decoders<T, E> {
    pub(crate) outcome: Decode<T, E>,
    /// The same for a value that shares its memory with others.
    pub(crate) value_in_place: fn(&[u8]) -> Result<T, CodecError>,
}

impl<T, E> Clone for Decoders<T, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, E> Copy for Decoders<T, E> {}

impl<T: Wire, E: Wire> Decoders<T, E> {
    pub(crate) fn wire() -> Self {
        Self {
            outcome: |registration, run, index, outcome| {
                decode(registration, run, index, outcome, codec::decode_all::<E>)
            },
            value_in_place: codec::decode_alone_in_place::<T>,
        }
    }
}

impl<T: Wire> Decoders<T, std::convert::Infallible> {
    pub(crate) fn infallible() -> Self {
        Self {
            outcome: |registration, run, index, outcome| {
                decode(registration, run, index, outcome, |_| {
                    let reason = "an error of a function that has none";
                    Err(CodecError::Invalid(reason.to_owned()))
                })
            },
            value_in_place: codec::decode_alone_in_place::<T>,
        }
    }
}

/// Returns the error of a call whose result cannot be decoded.
#[cold]
pub(crate) fn not_decodable<E>(
    registration: &'static Registration,
    call: CallId,
    index: Option<u64>,
    error: &CodecError,
) -> CallError<E> {
    let context = Context::new(registration.spec.name, call, index, Vec::new(), None);
    CallError::Lost(lost(error), context)
}

fn lost(error: &CodecError) -> Lost {
    Lost::NotDecodable {
        reason: error.to_string().into(),
    }
}

fn decode<T: Wire, E>(
    registration: &'static Registration,
    run: RunId,
    index: Option<u64>,
    outcome: Outcome,
    decode_error: impl FnOnce(&[u8]) -> Result<E, CodecError>,
) -> Result<T, CallError<E>> {
    let Outcome {
        call,
        result,
        history,
    } = outcome;
    let context = || {
        let History {
            attempts,
            stderr_tail,
        } = History::of(history);
        let call = call.of(run);
        Context::new(registration.spec.name, call, index, attempts, stderr_tail)
    };
    let failure = match result {
        Ok(value) => {
            // Until the value is decoded, and has handles of its own.
            let _named = value.named().cloned();
            let pool = value.pool().cloned();
            return codec::decode_alone(value.into_one(), pool.as_ref())
                .map_err(|error| CallError::Lost(lost(&error), context()));
        }
        Err(failure) => failure,
    };
    let context = context();
    Err(match failure {
        Failure::Function(bytes) => match decode_error(&bytes) {
            Ok(error) => CallError::Function(error, context),
            Err(error) => CallError::Lost(lost(&error), context),
        },
        Failure::Panicked(panic) => CallError::Panicked(panic, context),
        Failure::Crashed(crash) => CallError::Crashed(crash, context),
        Failure::TimedOut(timed_out) => CallError::TimedOut(timed_out, context),
        Failure::Startup(startup) => CallError::Startup(startup, context),
        Failure::CrashLimit(exceeded) => CallError::CrashLimit(exceeded, context),
        Failure::Cancelled(cancelled) => CallError::Cancelled(cancelled, context),
        Failure::Rejected(rejected) => CallError::Rejected(rejected, context),
        Failure::Lost(lost) => CallError::Lost(lost, context),
        Failure::HandedBack(_) => CallError::Lost(Lost::handed_back(), context),
    })
}

/// A lazy call, as a stub's `remote` returns it: `.await` it, or [`wait`](Self::wait) to block.
///
/// Dropping it while it is under way cancels it: if a worker is executing it, that worker is killed.
///
/// Polling the call never blocks, unless [`Builder::busy_poll`](crate::runtime::Builder::busy_poll) or
/// `RETRY_BUSY_POLL` allows it.
///
/// ```standalone_crate
/// use retry_runtime::function;
/// use std::time::Duration;
///
/// #[function]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let call = add.remote(1, 2).retries(3).deadline(Duration::from_secs(60));
///     assert_eq!(call.wait().unwrap(), 3);
/// }
/// ```
#[must_use = "a call does nothing unless it is awaited: add `.await`, or `.wait()` to block"]
pub struct Call<T, E> {
    call: LazyCall,
    decode: Decode<T, E>,
}

impl<T, E> Call<T, E> {
    #[track_caller]
    pub(crate) fn new(
        host: Host,
        config: Option<ServiceConfig>,
        registration: &'static Registration,
        options: Options,
        input: Result<Encoded, Rejected>,
        decoders: Decoders<T, E>,
        describe: Describe,
    ) -> Self {
        let call = LazyCall {
            called: Location::caller(),
            spans: spans::Context::current(),
            host,
            config,
            registration,
            options,
            input,
            describe,
            running: None,
            is_detached: false,
        };
        Self {
            call,
            decode: decoders.outcome,
        }
    }

    /// Sets the retry policy of this call; a number means that many retries, one second apart.
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.call.options = self.call.options.retries(retries);
        self
    }

    /// Limits the execution of one attempt.
    ///
    /// # Panics
    ///
    /// Panics if `timeout` is zero.
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call.options = self.call.options.timeout(timeout);
        self
    }

    /// Limits queue, attempts and delays together.
    ///
    /// # Panics
    ///
    /// Panics if `deadline` is zero.
    #[track_caller]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.call.options = self.call.options.deadline(deadline);
        self
    }

    /// Sets the time that the call has to end by itself, once it is cancelled or times out, before its
    /// worker is killed.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.call.options = self.call.options.grace(grace);
        self
    }

    /// Delays the start of the call, which is made now: it waits for its first attempt as others wait for their
    /// next one. The [`deadline`](Self::deadline) counts from the end of this delay.
    ///
    /// The delay ends with the program, like any call; one that was [spawned](Self::spawn) on [other
    /// machines](crate::engine) goes on.
    ///
    /// ```standalone_crate
    /// use retry_runtime::function;
    /// use std::time::{Duration, Instant};
    ///
    /// #[function]
    /// fn clean_up(name: &str) -> usize {
    ///     name.len()
    /// }
    ///
    /// fn main() {
    ///     retry_runtime::init();
    ///     let begun = Instant::now();
    ///     let later = clean_up.remote("cache").after(Duration::from_millis(200)).spawn();
    ///     // .. other work ..
    ///     assert_eq!(later.wait().unwrap(), 5);
    ///     assert!(begun.elapsed() >= Duration::from_millis(200));
    /// }
    /// ```
    pub fn after(mut self, delay: Duration) -> Self {
        self.call.options = self.call.options.after(delay);
        self
    }

    /// Makes the call, and blocks this thread until the result arrives.
    ///
    /// # Errors
    ///
    /// Any variant of [`CallError`].
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block: write `.await` there. Inside
    /// `spawn_blocking` and `block_in_place` it may be called.
    #[track_caller]
    pub fn wait(mut self) -> Result<T, CallError<E>> {
        runtime_thread::refuse(format_args!("`.wait()`"), "`.await`");
        self.call.start(PollIntent::Yes, Slot::default());
        block::block_on(&mut self)
    }

    /// Makes the call and lets it run on its own, as the `spawn` of a stub does: for a call with options of its
    /// own.
    ///
    /// ```no_run
    /// # use retry_runtime::function;
    /// # use std::time::Duration;
    /// # #[function]
    /// # fn resize(path: &str) {}
    /// let call = resize.remote("photo.png").timeout(Duration::from_secs(5)).spawn();
    /// # call.wait().unwrap();
    /// ```
    pub fn spawn(mut self) -> FunctionCall<T, E> {
        let call = &mut self.call;
        call.is_detached = true;
        let slot = call.start(PollIntent::No, Slot::keeping());
        let (key, cache) = match call.running.take() {
            Some(running) => (running.key, running.cache),
            None => (None, None),
        };
        FunctionCall {
            host: call.host.clone(),
            registration: call.registration,
            decode: self.decode,
            slot,
            key,
            original: None,
            cache,
            _spans: take(&mut call.spans),
        }
    }
}

/// Begins to wait for a call that was spawned before, here or in another program.
pub(crate) fn attach<T, E>(
    host: Host,
    registration: &'static Registration,
    decoders: Decoders<T, E>,
    call: CallId,
) -> FunctionCall<T, E> {
    let slot = Arc::new(Slot::keeping());
    let job = Job {
        target: Arc::clone(&slot) as Arc<dyn Deliver>,
        number: 0,
        index: None,
        input: Payload::NONE,
        objects: Objects::NONE,
        caller: Caller::thread(),
        method: registration.place(),
        spans: spans::Context::default(),
    };
    let attached = host.attach(registration, call, job);
    let key = attached.map_err(|reason| slot.fill(rejected(reason))).ok();
    FunctionCall {
        host,
        registration,
        decode: decoders.outcome,
        slot,
        key,
        original: Some(call),
        cache: None,
        _spans: spans::Context::default(),
    }
}

impl<T, E> Future for Call<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Self { call, decode } = &mut *self;
        let outcome = call.poll_outcome(context);
        outcome.map(|outcome| decode(call.registration, call.host.run(), None, outcome))
    }
}

impl<T, E> Wait for Call<T, E> {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.call.park(until, waiter, spin);
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("function", &self.call.registration.spec.name)
            .field("started", &self.call.running.is_some())
            .finish_non_exhaustive()
    }
}

/// A started call, as a stub's `spawn` returns it. Dropping it detaches the call, which runs on.
///
/// The result is handed out once: by `.await`, [`wait`](Self::wait), [`get`](Self::get) or
/// [`try_get`](Self::try_get).
///
/// A call on [another machine](crate::engine) goes on when its program ends. With its [`id`](Self::id), the `attach` of a
/// stub returns it in a later program of the same build.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, function};
/// use std::time::Duration;
///
/// #[function]
/// fn sleep(seconds: u64) -> u64 {
///     std::thread::sleep(Duration::from_secs(seconds));
///     seconds
/// }
///
/// fn main() {
///     retry_runtime::init();
///     assert_eq!(sleep.spawn(0).wait().unwrap(), 0);
///
///     let mut call = sleep.spawn(3600);
///     assert!(call.get(Duration::from_millis(50)).is_none()); // still running
///     call.cancel();
///     assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
/// }
/// ```
#[must_use = "the call's result, and whether it failed, is only known through this"]
pub struct FunctionCall<T, E> {
    host: Host,
    registration: &'static Registration,
    decode: Decode<T, E>,
    slot: Arc<Slot>,
    key: Option<CallKey>,
    /// The id under which the call was made, if that was in another place.
    original: Option<CallId>,
    /// The place for the result in the function's cache, if it has one and the result is not there.
    cache: Option<Box<CachePlace>>,
    /// Keeps the caller's span open.
    _spans: spans::Context,
}

impl<T, E> FunctionCall<T, E> {
    /// Blocks this thread until the result arrives.
    ///
    /// # Errors
    ///
    /// Any variant of [`CallError`].
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block: write `.await` there. Inside
    /// `spawn_blocking` and `block_in_place` it may be called.
    #[track_caller]
    pub fn wait(self) -> Result<T, CallError<E>> {
        runtime_thread::refuse(format_args!("`.wait()`"), "`.await`");
        block::block_on(self)
    }

    /// Blocks this thread until the result arrives, for at most `timeout`.
    ///
    /// Returns `None` if there is no result by then; the call runs on. The time for which the program is
    /// suspended by Ctrl-Z does not count.
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block, unless `timeout` is zero: write
    /// `tokio::time::timeout(timeout, &mut call).await` there. Inside `spawn_blocking` and `block_in_place` it
    /// may be called.
    #[track_caller]
    pub fn get(&mut self, timeout: Duration) -> Option<Result<T, CallError<E>>> {
        if !timeout.is_zero() {
            let instead = "`tokio::time::timeout(timeout, &mut call).await`";
            runtime_thread::refuse(format_args!("`.get(timeout)`"), instead);
        }
        let until = self.host.running_time().checked_add(timeout);
        loop {
            let real = until.map(|until| self.host.real(until));
            let result = block::block_on_until(real, self);
            // The program may have been suspended meanwhile.
            if result.is_some() || until.is_none_or(|until| until <= self.host.running_time()) {
                return result;
            }
        }
    }

    /// Returns the result if it has arrived.
    pub fn try_get(&mut self) -> Option<Result<T, CallError<E>>> {
        let outcome = if self.host.is_foreign() {
            outcome_in_fork(&self.slot)
        } else {
            let outcome = self.slot.try_take()?;
            if let Some(place) = self.cache.take() {
                keep(&place, &outcome);
            }
            outcome
        };
        Some((self.decode)(self.registration, self.run(), None, outcome))
    }

    /// Returns the run that the call belongs to.
    fn run(&self) -> RunId {
        self.original.map_or_else(|| self.host.run(), CallId::run)
    }

    /// Cancels the call: removes it from the queue, or stops the worker that executes it.
    ///
    /// It is not retried, and its result is [`CallError::Cancelled`] unless a result had arrived before.
    /// With a `grace` the function is asked first; without one the worker is killed at once.
    pub fn cancel(&self) {
        if let Some(key) = self.key {
            self.host.cancel(key);
        }
    }

    /// Returns the id of the call, which is the same in its worker, in events and in errors. Its number is 0 if
    /// the call was rejected before it was submitted, or has its result from a cache.
    #[must_use]
    pub fn id(&self) -> CallId {
        let number = self.key.map_or(CallNumber::NONE, |key| key.id);
        self.original.unwrap_or_else(|| number.of(self.host.run()))
    }
}

impl<T, E> Future for FunctionCall<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        if self.host.is_foreign() {
            let outcome = outcome_in_fork(&self.slot);
            let decoded = (self.decode)(self.registration, self.run(), None, outcome);
            return Poll::Ready(decoded);
        }
        terminal::polled(self.slot.poll_take(context.waker())).map(|outcome| {
            if let Some(place) = self.cache.take() {
                keep(&place, &outcome);
            }
            (self.decode)(self.registration, self.run(), None, outcome)
        })
    }
}

impl<T, E> Wait for FunctionCall<T, E> {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        self.host.park(self.key, None, until, waiter, spin);
    }
}

impl<T, E> fmt::Debug for FunctionCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionCall")
            .field("function", &self.registration.spec.name)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The future of many spawned calls, as [`join`] returns it.
#[must_use = "the calls run on their own, but their results are only known through this"]
pub struct Join<T, E> {
    calls: Vec<FunctionCall<T, E>>,
    results: Vec<Option<Result<T, CallError<E>>>>,
}

/// Waits for many spawned calls, and returns their results in the order of the calls.
///
/// `.await` it, or [`wait`](Join::wait) for it. Dropping it detaches the calls.
///
/// ```standalone_crate
/// use retry_runtime::{function, join};
///
/// #[function]
/// fn square(number: u64) -> u64 {
///     number * number
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let calls = (0..4).map(|number| square.spawn(number));
///     let squares: Vec<u64> = join(calls).wait().into_iter().map(Result::unwrap).collect();
///     assert_eq!(squares, [0, 1, 4, 9]);
/// }
/// ```
pub fn join<T, E>(calls: impl IntoIterator<Item = FunctionCall<T, E>>) -> Join<T, E> {
    let calls: Vec<_> = calls.into_iter().collect();
    let results = calls.iter().map(|_| None).collect();
    Join { calls, results }
}

impl<T, E> Join<T, E> {
    /// Blocks this thread until all results have arrived.
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block: write `.await` there. Inside
    /// `spawn_blocking` and `block_in_place` it may be called.
    #[track_caller]
    pub fn wait(self) -> Vec<Result<T, CallError<E>>> {
        runtime_thread::refuse(format_args!("`.wait()`"), "`.await`");
        block::block_on(self)
    }
}

impl<T, E> Unpin for Join<T, E> {}

impl<T, E> Future for Join<T, E> {
    type Output = Vec<Result<T, CallError<E>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Self { calls, results } = &mut *self;
        let mut pending = false;
        for (call, result) in calls.iter_mut().zip(results.iter_mut()) {
            if result.is_none() {
                match Pin::new(call).poll(context) {
                    Poll::Ready(ready) => *result = Some(ready),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(results.drain(..).flatten().collect())
    }
}

impl<T, E> Wait for Join<T, E> {
    fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        let mut calls = self.calls.iter().zip(&self.results);
        if let Some((call, _)) = calls.find(|(_, result)| result.is_none()) {
            let target = WaitTarget::To(call.key);
            call.host.poll_until(target, until, waiter, spin);
        }
    }
}

impl<T, E> fmt::Debug for Join<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.calls).finish()
    }
}
