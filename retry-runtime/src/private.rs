//! Names that generated code refers to. The number in the module's name is the patch version, so that macros
//! and runtime of different versions cannot be combined unnoticed.
#![allow(missing_docs)]

use std::future::Future;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(feature = "cli")]
pub use crate::__can_be_parsed as can_be_parsed;
pub use crate::__kind as kind;
#[cfg(feature = "cli")]
pub use crate::__misplaced as misplaced;
pub use crate::api::call_id::CallId;
pub use crate::api::crash_limit::CrashLimit;
pub use crate::api::options::Options;
pub use crate::api::retries::Retries;
pub use crate::api::spec::FunctionSpec;
pub use crate::caller::call::{Call, FunctionCall};
pub use crate::caller::map::{ForEach, Map};
pub use crate::caller::runtime::Runtime;
pub use crate::caller::stub::Typed;
pub use crate::child::enter_test;
pub use crate::function::args::Input as Accepted;
pub use crate::function::args::{Argument, Arguments, Ref, Referred, Signature, Val};
pub use crate::function::batch::Batched;
pub use crate::function::driver::{AtOnce, Made};
pub use crate::function::invocation::{Invocation, LocalFuture, State, block_on};
pub use crate::function::on_start::{DebuggedStart, OnStart, OtherStart, StartResult};
pub use crate::function::probe::{
    Configuration, Input, IsChained, IsError, IsPlain, IsReferred, IsResult, IsSent, IsShown,
    IsSuccess, IsTyped, Kind, Otherwise, Outcome, Output, Select, Sent, Suspect, ask, beginning,
    ending, kind_of,
};
pub use crate::function::registry::{
    IntoService, IntoState, Nothing, Registration, Run, STATE, Service, SetUp, Submission, TearDown,
};
pub use crate::function::retry_probe::{Debugged, Displayed, Mute, Probe, Says, Silent};
pub use crate::function::service_config::ServiceConfig;
pub use crate::function::show::{Argument as Shown, Debugs, Opaque, redacted, shown};
#[cfg(feature = "cli")]
pub use crate::program::command_line::{
    ABOUT_VARIABLES, CommandLine, IsArgs, IsEnum, IsFromOsStr, IsFromOsString, IsFromString,
    IsFromText, IsKnown, IsParsed, IsShareable, IsSubcommand, check_option,
};
pub use crate::program::serving::init;
pub use crate::program::{run, run_async};
#[cfg(feature = "cli")]
pub use clap;
pub use inventory;

use crate::sys::Tied;

/// The return type of an async function's pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The future of an async function, which may be `Send` or not.
///
/// A function pointer has a single type, which a stub has to name, so it cannot depend on what the body
/// holds. The pointer therefore always returns a `Send` future. A future that is not `Send` is tied to its
/// thread.
pub struct Started<F>(pub F);

impl<F: Future + Send> Started<F> {
    pub fn __boxed<'a>(self) -> BoxFuture<'a, F::Output>
    where
        F: 'a,
    {
        Box::pin(self.0)
    }
}

/// Boxes a future that is not `Send`: method lookup tries inherent methods before those of traits.
pub trait Stays<'a, T> {
    fn __boxed(self) -> BoxFuture<'a, T>;
}

impl<'a, F: Future + 'a> Stays<'a, F::Output> for Started<F> {
    fn __boxed(self) -> BoxFuture<'a, F::Output> {
        let future: Pin<Box<dyn Future<Output = F::Output> + 'a>> = Box::pin(self.0);
        Box::pin(TiedFuture(Tied::new(future)))
    }
}

struct TiedFuture<'a, T>(Tied<Pin<Box<dyn Future<Output = T> + 'a>>>);

impl<T> Future for TiedFuture<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = self.0.get_mut() else {
            panic!(
                "the future of an async function that is not `Send` has to stay on the thread that \
                 called it; write `f.local(..)` for a future of which the compiler knows that"
            );
        };
        future.as_mut().poll(context)
    }
}

/// Starts a call at once.
#[track_caller]
pub fn spawn<T, E>(call: Call<T, E>) -> FunctionCall<T, E> {
    call.spawn()
}

// The rest checks constants. A value and its check are separate, so that an invalid value is reported in one
// place only: the description that contains it is evaluated nevertheless.

/// A retry policy from a constant, of type `Retries` or an integer.
pub struct RetriesFrom<T>(pub T);

/// A policy, and its problem if it has one.
#[derive(Clone, Copy)]
pub struct RetriesOr(pub Retries, Option<&'static str>);

impl RetriesOr {
    #[track_caller]
    pub const fn check(self) {
        if let Some(message) = self.1 {
            panic!("{}", message);
        }
    }
}

impl RetriesFrom<Retries> {
    #[must_use]
    pub const fn __get(self) -> RetriesOr {
        RetriesOr(self.0, self.0.fault())
    }
}

impl RetriesFrom<u32> {
    #[must_use]
    pub const fn __get(self) -> RetriesOr {
        RetriesOr(Retries::fixed(self.0, Duration::from_secs(1)), None)
    }
}

// These methods take `&self` and those above `self`, because method lookup tries `self` first: an integer
// whose type is still undetermined, such as `1 + 1`, becomes a `u32`.

macro_rules! retries_from {
    ($($integer:ty)*) => {
        $(
            impl RetriesFrom<$integer> {
                #[must_use]
                #[allow(unused_comparisons, clippy::cast_possible_truncation)]
                pub const fn __get(&self) -> RetriesOr {
                    let fault = if self.0 < 0 {
                        Some("`retries` must not be negative")
                    } else if self.0 as u128 > u32::MAX as u128 {
                        Some("`retries` must not be larger than 4294967295")
                    } else {
                        None
                    };
                    RetriesOr(Retries::fixed(self.0 as u32, Duration::from_secs(1)), fault)
                }
            }
        )*
    };
}

retries_from!(i8 i16 i32 i64 i128 isize u8 u16 u64 u128 usize);

macro_rules! no_retries_from {
    ($([$($generics:tt)*] $other:ty;)*) => {
        $(
            impl<$($generics)*> RetriesFrom<$other> {
                #[must_use]
                pub const fn __get(&self) -> RetriesOr {
                    let fault = "`retries` takes an integer or a const Retries";
                    RetriesOr(Retries::none(), Some(fault))
                }
            }
        )*
    };
}

// Types that users may mistake for a number or a policy.
no_retries_from! {
    [] &str;
    [] f32;
    [] f64;
    [] bool;
    [] Duration;
    [T] Option<T>;
    [T] &[T];
    [T, const N: usize] [T; N];
    [T, const N: usize] &[T; N];
    [T, U] (T, U);
    [T] Range<T>;
    [T] RangeInclusive<T>;
    [] &Retries;
}

/// Returns the policy that a list of settings describes.
#[must_use]
pub const fn retries(
    max_retries: u32,
    backoff_coefficient: f64,
    initial_delay: Duration,
    max_delay: Duration,
    jitter: bool,
) -> Retries {
    Retries::unchecked(
        max_retries,
        backoff_coefficient,
        initial_delay,
        max_delay,
        jitter,
    )
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident($value:ident: $type:ty) $is_right:expr;)*) => {
        $(
            $(#[$doc])*
            #[track_caller]
            pub const fn $name($value: $type, message: &str) {
                if !$is_right {
                    panic!("{}", message);
                }
            }
        )*
    };
}

checks! {
    /// Checks that a number is not zero.
    check_usize(value: usize) value > 0;
    /// Checks that a number is not zero.
    check_u64(value: u64) value > 0;
    /// Checks that a duration is not zero.
    check_duration(value: Duration) !value.is_zero();
    /// Checks that one worker can have this many calls at once.
    check_at_once(value: usize) value <= crate::wire::SLOTS;
    /// Checks that a coefficient is within its range.
    check_coefficient(value: f64) value >= 1.0 && value <= 10.0;
    /// Checks that a cap on delays is short enough.
    check_cap(value: Duration) value.as_nanos() <= Retries::LONGEST_DELAY.as_nanos();
    /// Checks that the initial delay is not above the cap.
    check_initial(policy: Retries) policy.initial_fits();
    /// Checks that the minimum of workers is not above the maximum.
    check_workers(spec: &FunctionSpec) match spec.max_workers {
        Some(most) => spec.min_workers <= most,
        None => true,
    };
    /// Checks that the deadline is not shorter than the timeout of one attempt.
    check_deadline(spec: &FunctionSpec) match (spec.timeout, spec.deadline) {
        (Some(timeout), Some(deadline)) => timeout.as_nanos() <= deadline.as_nanos(),
        _ => true,
    };
    /// Checks that a function that runs at most once has no retries.
    check_once(spec: &FunctionSpec) !spec.at_most_once || spec.retries.max_retries() == 0;
}

/// Stands for a value in code that never runs, but says which type an async block returns.
pub fn unreached<T>() -> T {
    unreachable!("the code of #[retry_runtime::test] does not call this")
}

/// Runs an async test.
pub fn block_on_test<F: Future>(future: F) -> F::Output {
    block_on(future)
}

#[cfg(feature = "checkpoint")]
#[macro_export]
#[doc(hidden)]
macro_rules! __require_checkpoint {
    () => {};
}

#[cfg(not(feature = "checkpoint"))]
#[macro_export]
#[doc(hidden)]
macro_rules! __require_checkpoint {
    () => {
        ::core::compile_error!(
            "`cache` keeps results in files, which needs the feature `checkpoint` of retry-runtime"
        );
    };
}

pub use crate::__require_checkpoint as require_checkpoint;
