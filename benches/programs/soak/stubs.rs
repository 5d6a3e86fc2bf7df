//! A uniform view of the functions: the rules for each, and the way to call it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use retry_runtime::{Call, ForEach, FunctionCall, Map, Options, RemoteError, Runtime};

use crate::functions::{self, Shop, ShopHandle, TIMEOUT};
use crate::job::{Answer, Job, Refusal};

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    Raw,
    Lent,
    Plain,
    Typed,
    Untyped,
    Concurrent,
    Awaiting,
    Batched,
    Once,
    Timed,
    Graceful,
    Recycled,
    Single,
    Limited,
    Outer,
    Prepared,
    Licensed,
    Shop,
    Forking,
}

impl Pool {
    /// Returns the number of further attempts that the attribute allows.
    pub fn retries(self) -> u32 {
        match self {
            Self::Typed => 2,
            Self::Awaiting | Self::Timed | Self::Recycled | Self::Shop => 1,
            _ => 0,
        }
    }

    pub fn timeout(self) -> Option<Duration> {
        matches!(self, Self::Timed | Self::Graceful).then_some(TIMEOUT)
    }

    /// Returns whether a worker executes several inputs at once, so that no single input can be blamed.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Concurrent | Self::Batched)
    }

    /// Returns whether the set-up may fail.
    pub fn is_flaky(self) -> bool {
        matches!(self, Self::Prepared | Self::Shop)
    }

    /// Returns whether the function has an error type of its own.
    pub fn has_errors(self) -> bool {
        !matches!(self, Self::Raw | Self::Lent | Self::Plain)
    }
}

/// The target of a call: a function with overrides, its runtime, and the configuration of a service.
#[derive(Clone)]
pub struct Target {
    pub pool: Pool,
    pub options: Options,
    /// The overrides that the judge has to know.
    pub retries: u32,
    pub timeout: Option<Duration>,
    pub deadline: Option<Duration>,
    pub runtime: Option<Runtime>,
    pub shop: Option<(u64, Arc<ShopHandle>)>,
    /// Identifies the set of workers that serve the call.
    pub place: u32,
}

/// Returns the place of a pool in the default runtime. The configurations of the service and the pools of
/// other runtimes have higher numbers.
pub fn place_of(pool: Pool) -> u32 {
    pool as u32
}

pub fn place_of_shop(number: u64) -> u32 {
    1 << 30 | u32::try_from(number & 0xff_ffff).unwrap_or(0)
}

/// Returns a place for the pools of a runtime that no other set of workers has: the lowest five bits identify
/// the pool.
pub fn place_of_runtime() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 5 | 1 << 31
}

impl Target {
    pub fn of(pool: Pool) -> Self {
        Self {
            pool,
            options: Options::new(),
            retries: pool.retries(),
            timeout: pool.timeout(),
            deadline: None,
            runtime: None,
            shop: None,
            place: place_of(pool),
        }
    }

    pub fn of_shop(number: u64) -> Self {
        Self {
            shop: Some((number, Arc::new(Shop::with(number)))),
            place: place_of_shop(number),
            ..Self::of(Pool::Shop)
        }
    }

    pub fn on(pool: Pool, runtime: &Runtime, place: u32) -> Self {
        Self {
            runtime: Some(runtime.clone()),
            place: place | place_of(pool),
            ..Self::of(pool)
        }
    }
}

/// A function, called through a target.
pub trait Stub: Clone + Send + Sync + 'static {
    type Input: Send + 'static;
    type Value: Send + 'static;
    type Error: Told + Send + 'static;

    fn target(&self) -> &Target;
    fn input(job: Job) -> Self::Input;
    fn answer(value: Self::Value) -> Answer;
    fn remote(&self, input: Self::Input) -> Call<Self::Value, Self::Error>;
    fn spawn(&self, input: Self::Input) -> FunctionCall<Self::Value, Self::Error>;
    fn map<I>(&self, inputs: I) -> Map<I, Self::Value, Self::Error>
    where
        I: Iterator<Item = Self::Input>;
    fn for_each<I>(&self, inputs: I) -> ForEach<I, Self::Value, Self::Error>
    where
        I: Iterator<Item = Self::Input>;
}

/// Returns the error of a function as text: that of a [`Refusal`].
pub trait Told {
    fn told(&self) -> String;
}

impl Told for Refusal {
    fn told(&self) -> String {
        self.to_string()
    }
}

impl Told for RemoteError {
    fn told(&self) -> String {
        self.to_string()
    }
}

impl Told for Infallible {
    fn told(&self) -> String {
        match *self {}
    }
}

/// Calls a method of a function with the options and the runtime of a target.
macro_rules! through {
    ($target:expr, $function:expr, $method:ident, $argument:expr) => {{
        let function = $function.with_options($target.options);
        match &$target.runtime {
            Some(runtime) => function.on(runtime).$method($argument),
            None => function.$method($argument),
        }
    }};
}

macro_rules! stub {
    ($name:ident, $input:ty, $value:ty, $error:ty, |$target:ident| $function:expr,
     |$job:ident| $encode:expr, |$result:ident| $decode:expr, |$passed:ident| $pass:expr) => {
        #[derive(Clone)]
        pub struct $name(pub Target);

        impl Stub for $name {
            type Input = $input;
            type Value = $value;
            type Error = $error;

            fn target(&self) -> &Target {
                &self.0
            }

            fn input($job: Job) -> $input {
                $encode
            }

            fn answer($result: $value) -> Answer {
                $decode
            }

            fn remote(&self, $passed: $input) -> Call<$value, $error> {
                let $target = &self.0;
                through!($target, $function, remote, $pass)
            }

            fn spawn(&self, $passed: $input) -> FunctionCall<$value, $error> {
                let $target = &self.0;
                through!($target, $function, spawn, $pass)
            }

            fn map<I>(&self, inputs: I) -> Map<I, $value, $error>
            where
                I: Iterator<Item = $input>,
            {
                let $target = &self.0;
                through!($target, $function, map, inputs)
            }

            fn for_each<I>(&self, inputs: I) -> ForEach<I, $value, $error>
            where
                I: Iterator<Item = $input>,
            {
                let $target = &self.0;
                through!($target, $function, for_each, inputs)
            }
        }
    };
    ($name:ident, $error:ty, |$target:ident| $function:expr) => {
        stub!(
            $name,
            Job,
            Answer,
            $error,
            |$target| $function,
            |job| job,
            |answer| answer,
            |passed| passed
        );
    };
}

stub!(
    Raw,
    Vec<u8>,
    Vec<u8>,
    Infallible,
    |target| functions::raw,
    |job| functions::to_raw(&job),
    |bytes| functions::from_raw_answer(&bytes),
    |bytes| bytes
);
stub!(
    Lent,
    Vec<u8>,
    Bytes,
    Infallible,
    |target| functions::lent,
    |job| functions::to_raw(&job),
    |bytes| functions::from_raw_answer(&bytes),
    |bytes| &bytes
);
stub!(Plain, Infallible, |target| functions::plain);
stub!(
    Typed,
    Job,
    Answer,
    Refusal,
    |target| functions::typed,
    |job| job,
    |answer| answer,
    |job| &job
);
stub!(Untyped, RemoteError, |target| functions::untyped);
stub!(Concurrent, Refusal, |target| functions::concurrent);
stub!(Awaiting, Refusal, |target| functions::awaiting);
stub!(Batched, Refusal, |target| functions::batched);
stub!(Once, Refusal, |target| functions::once);
stub!(Timed, Refusal, |target| functions::timed);
stub!(Graceful, Refusal, |target| functions::graceful);
stub!(Recycled, Refusal, |target| functions::recycled);
stub!(Single, Refusal, |target| functions::single);
stub!(Limited, Refusal, |target| functions::limited);
stub!(Outer, Refusal, |target| functions::outer);
stub!(Prepared, Refusal, |target| functions::prepared);
stub!(Licensed, Refusal, |target| functions::licensed);
stub!(ShopStub, Refusal, |target| target
    .shop
    .as_ref()
    .expect("a configuration")
    .1
    .sell);
stub!(Forking, Refusal, |target| functions::forking);

/// Evaluates an expression with the stub of a target.
#[macro_export]
macro_rules! with_stub {
    ($target:expr, |$stub:ident| $body:expr) => {{
        use $crate::stubs::{self, Pool};
        let target = $target;
        match target.pool {
            Pool::Raw => {
                let $stub = stubs::Raw(target);
                $body
            }
            Pool::Lent => {
                let $stub = stubs::Lent(target);
                $body
            }
            Pool::Plain => {
                let $stub = stubs::Plain(target);
                $body
            }
            Pool::Typed => {
                let $stub = stubs::Typed(target);
                $body
            }
            Pool::Untyped => {
                let $stub = stubs::Untyped(target);
                $body
            }
            Pool::Concurrent => {
                let $stub = stubs::Concurrent(target);
                $body
            }
            Pool::Awaiting => {
                let $stub = stubs::Awaiting(target);
                $body
            }
            Pool::Batched => {
                let $stub = stubs::Batched(target);
                $body
            }
            Pool::Once => {
                let $stub = stubs::Once(target);
                $body
            }
            Pool::Timed => {
                let $stub = stubs::Timed(target);
                $body
            }
            Pool::Graceful => {
                let $stub = stubs::Graceful(target);
                $body
            }
            Pool::Recycled => {
                let $stub = stubs::Recycled(target);
                $body
            }
            Pool::Single => {
                let $stub = stubs::Single(target);
                $body
            }
            Pool::Limited => {
                let $stub = stubs::Limited(target);
                $body
            }
            Pool::Outer => {
                let $stub = stubs::Outer(target);
                $body
            }
            Pool::Prepared => {
                let $stub = stubs::Prepared(target);
                $body
            }
            Pool::Licensed => {
                let $stub = stubs::Licensed(target);
                $body
            }
            Pool::Shop => {
                let $stub = stubs::ShopStub(target);
                $body
            }
            Pool::Forking => {
                let $stub = stubs::Forking(target);
                $body
            }
        }
    }};
}
