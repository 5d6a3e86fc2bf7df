//! Compile-time questions that generated code asks about a function's types.
//!
//! Like the stub, a probe is a chain of layers. An early layer has a method under the condition that the type
//! qualifies; the last layer has the same method without conditions. So a type that cannot be sent is
//! reported once, where generated code asserts that it can, and nowhere else.
//!
//! Method lookup decides, so a trait of the user's that every type implements could be in the way. The methods
//! therefore have names that no such trait has: those that the compiler never shows begin with `__`.
#![allow(missing_docs)]

use std::convert::Infallible;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::run_batch;
use super::invocation::Invocation;
use super::service_config::ServiceConfig;
use crate::api::remote_error::RemoteError;
use crate::api::spec::FunctionSpec;
use crate::codec::{Wire, staging};
use crate::function::args::{Anything, Arguments, Parameters, Referred, Val};
use crate::function::registry::{configuration, configure};

/// A value that can be sent: the same as [`Wire`], without supertraits that the compiler would report
/// as well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to a worker process",
    label = "this type is not serialisable",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to the type and to what it \
            contains; it must own its data",
    note = "a type that serde can carry, but bincode cannot, travels inside of \
            `retry_runtime::Json<T>`"
)]
pub trait Sent {
    /// A constant that does not compile where the trait does not hold.
    const HOLDS: () = ();
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Sent for T {}

/// A value that can be sent back. `Self` is the part of the signature to point at.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be sent from a worker process",
    label = "this type is not serialisable",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to the type and to what it \
            contains; it must own its data",
    note = "a type that serde can carry, but bincode cannot, travels inside of \
            `retry_runtime::Json<T>`"
)]
pub trait Returned<T: ?Sized> {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static, X: ?Sized> Returned<T> for X {}

/// An error that can be sent back, as itself or as its text. `Self` is the part of the signature that the
/// compiler points at.
#[diagnostic::on_unimplemented(
    message = "the error `{E}` cannot be sent from a worker process",
    label = "this error is not serialisable, and cannot be shown either",
    note = "to match on it in the caller, add `#[derive(serde::Serialize, serde::Deserialize)]` \
            to it and to what it contains",
    note = "or implement Display and Debug for it: it then arrives as a `RemoteError`, which \
            keeps its text"
)]
pub trait Failed<E> {}

#[diagnostic::do_not_recommend]
impl<E: Serialize + DeserializeOwned + 'static, X: ?Sized> Failed<E> for X {}

/// A return type that has errors to decide about.
#[diagnostic::on_unimplemented(
    message = "`retry_if` decides about errors, but the function returns `{Self}`",
    label = "there is no error to decide about",
    note = "remove `retry_if`, or return a `Result`"
)]
pub trait HasErrors {}

#[diagnostic::do_not_recommend]
impl<T, E> HasErrors for Result<T, E> {}

/// A function that decides about errors.
#[diagnostic::on_unimplemented(
    message = "`retry_if` takes a function `fn(&{E}) -> bool`, since the function's error is \
               `{E}`",
    label = "this is another kind of function"
)]
pub trait Judge<E> {}

// `Ask` decides what is a judge; the trait exists only for its message. The implementation keeps the compiler
// from adding that no type implements the trait.
#[diagnostic::do_not_recommend]
impl<E> Judge<E> for Infallible {}

/// The answer of a probe for a type that does not qualify.
pub trait Otherwise {
    const IS: bool = false;
}

impl<T: ?Sized> Otherwise for T {}

/// Defines types with a constant `IS` that is true if the bounds hold for the parameter. Otherwise `IS` is
/// that of [`Otherwise`], since an inherent constant takes precedence.
macro_rules! probes {
    ($($(#[$doc:meta])* [$($generics:tt)*] $name:ident<$type:ty>;)*) => {
        $(
            $(#[$doc])*
            pub struct $name<T: ?Sized>(std::marker::PhantomData<T>);

            impl<$($generics)*> $name<$type> {
                pub const IS: bool = true;
            }
        )*
    };
}
#[cfg(feature = "cli")]
pub(crate) use probes;

probes! {
    [A: Arguments] IsSent<A>;
    [T: Wire, E: Wire] IsTyped<Result<T, E>>;
    [T: Wire, E: Deref<Target: Error> + Debug] IsChained<Result<T, E>>;
    [T: Wire, E: Error] IsError<Result<T, E>>;
    [T: Wire, E: Display + Debug] IsShown<Result<T, E>>;
    [T, E] IsResult<Result<T, E>>;
    [T: Wire] IsPlain<T>;
    [T: Wire, E] IsSuccess<Result<T, E>>;
    [T: Referred + ?Sized] IsReferred<T>;
}

/// A function's kind, on which the types of the stub's methods depend. It says which layer of the stub
/// method lookup finds.
pub struct Kind<const KIND: u8>;

/// The error arrives as itself.
const TYPED: u8 = 0;
/// The error arrives as a text.
const TEXT: u8 = 1;
/// There is no error.
const PLAIN: u8 = 2;
/// A parameter cannot be sent, and the function returns a `Result`.
const UNSENT: u8 = 3;
/// A parameter cannot be sent, and the function returns something else.
const UNSENT_PLAIN: u8 = 4;

/// Evaluates to a function's kind.
#[macro_export]
#[doc(hidden)]
macro_rules! __kind {
    ($result:ty, $arguments:ty) => {{
        use $crate::__private0::{
            IsChained, IsError, IsResult, IsSent, IsShown, IsTyped, Otherwise as _, kind_of,
        };
        kind_of(
            IsSent::<$arguments>::IS,
            IsResult::<$result>::IS,
            IsTyped::<$result>::IS,
            // An error that lacks a supertrait is reported where it implements `Error`, and nowhere else.
            IsShown::<$result>::IS || IsChained::<$result>::IS || IsError::<$result>::IS,
        )
    }};
}

/// Returns the kind of a function by what its types are.
#[must_use]
pub const fn kind_of(is_sent: bool, is_result: bool, is_typed: bool, has_text: bool) -> u8 {
    match (is_sent, is_result) {
        (true, true) if !is_typed && has_text => TEXT,
        (true, true) => TYPED,
        (true, false) => PLAIN,
        (false, true) => UNSENT,
        (false, false) => UNSENT_PLAIN,
    }
}

/// The value and the error that a caller gets of a function's result, by the function's [`Kind`].
pub trait Outcome<K> {
    type Value;
    type Error;
}

macro_rules! outcomes {
    ($([$($generics:ident),*] $Result:ty, $kind:ident => $Value:ty, $Error:ty;)*) => {
        $(
            impl<$($generics),*> Outcome<Kind<$kind>> for $Result {
                type Value = $Value;
                type Error = $Error;
            }
        )*
    };
}

outcomes! {
    [T, E] Result<T, E>, TYPED => T, E;
    [T, E] Result<T, E>, TEXT => T, RemoteError;
    [R] R, PLAIN => R, Infallible;
    [T, E] Result<T, E>, UNSENT => T, E;
    [R] R, UNSENT_PLAIN => R, Infallible;
}

/// The parameters of a function as its map takes them, by the function's [`Kind`]. Of those that cannot be
/// sent that has been reported, and items are not looked at.
pub trait Select<K> {
    /// The tuple of markers, or `Anything`.
    type Arguments;
}

macro_rules! selects {
    ($($kind:ident => $Arguments:ty;)*) => {
        $(
            impl<A> Select<Kind<$kind>> for A {
                type Arguments = $Arguments;
            }
        )*
    };
}

selects! {
    TYPED => A;
    TEXT => A;
    PLAIN => A;
    UNSENT => Anything;
    UNSENT_PLAIN => Anything;
}

/// Selects a type for inspection if a type that contains it cannot be sent. Otherwise `()`, which can be
/// sent, stands in for it.
pub trait Suspect<const IS_SUSPECT: bool> {
    type Type: ?Sized;
}

impl<T: ?Sized> Suspect<true> for T {
    type Type = T;
}

impl<T: ?Sized> Suspect<false> for T {
    type Type = ();
}

macro_rules! layers {
    ($($(#[$doc:meta])* $layer:ident => $next:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $layer<T: ?Sized>($next<T>);

            impl<T: ?Sized> Deref for $layer<T> {
                type Target = $next<T>;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        )*
    };
}

layers! {
    /// A function's return type. Its checks apply if serde can serialise it.
    Output => Pointing;
    /// An error that is a pointer to another error.
    Pointing => Shown;
    /// An error that implements `Display` and `Debug`.
    Shown => Incomplete;
    /// An error that implements `Error` without one of those, which the compiler reports there.
    Incomplete => Unknown;
    /// Any other `Result`.
    Unknown => Whole;
    /// The parameters that a worker receives.
    Input => Unsent;
    /// The parameters of a service's constructor.
    Configuration => Unmade;
    /// A result, and a function that decides about its error.
    Ask => AskTarget;
    /// A result, and a function that decides about what its error dereferences to.
    AskTarget => Misjudged;
    /// A result, and something other than such a function.
    Misjudged => Unjudged;
    /// A state and a function that may make it.
    Beginning => Maker;
    /// A state and a function that may take it.
    Ending => Misfit;
}

/// Any other return type.
pub struct Whole<R: ?Sized>(PhantomData<fn() -> R>);

/// Parameters that cannot be sent, which the compiler has reported.
pub struct Unsent<A: ?Sized>(PhantomData<fn(A)>);

/// Constructor parameters that cannot be sent, which the compiler has reported.
pub struct Unmade<T: ?Sized>(PhantomData<fn(T)>);

impl<T> Configuration<T> {
    /// The probe.
    pub const NEW: Self = Self(Unmade(PhantomData));
}

impl<T: Wire> Configuration<T> {
    /// Calls [`configure`].
    #[track_caller]
    pub fn __configure(&self, parameters: &T) -> ServiceConfig {
        configure(parameters)
    }

    /// Calls [`configuration`].
    ///
    /// # Errors
    ///
    /// Fails if the parameters cannot be decoded.
    pub fn __read(&self, bytes: &[u8]) -> Result<T, String> {
        configuration(bytes)
    }
}

impl<T> Unmade<T> {
    pub fn __configure(&self, _: &T) -> ServiceConfig {
        Vec::new().into()
    }

    pub fn __read(&self, _: &[u8]) -> Result<T, String> {
        Err(String::new())
    }
}

// `X` is the part of the signature that the compiler points at.

impl<R: ?Sized> Output<R> {
    /// The probe.
    pub const NEW: Self = Self(Pointing(Shown(Incomplete(Unknown(Whole(PhantomData))))));
}

impl<T: Wire, E> Output<Result<T, E>> {
    pub fn sent_value<X: ?Sized>(&self) {}
}

impl<T, E: Wire> Output<Result<T, E>> {
    pub fn sent_error<X: ?Sized>(&self) {}
}

impl<T, E: Deref<Target: Error> + Debug> Pointing<Result<T, E>> {
    pub fn sent_error<X: ?Sized>(&self) {}
}

impl<T, E: Display + Debug> Shown<Result<T, E>> {
    pub fn sent_error<X: ?Sized>(&self) {}
}

impl<T, E: Error> Incomplete<Result<T, E>> {
    pub fn sent_error<X: ?Sized>(&self) {}
}

impl<T, E> Unknown<Result<T, E>> {
    pub fn sent_value<X: Returned<T> + ?Sized>(&self) {}
    pub fn sent_error<X: Failed<E> + ?Sized>(&self) {}

    /// Asks a closure about the error. The signature lets the compiler infer the closure's parameter type.
    pub fn retry_if_closure(
        &self,
        invocation: &mut Invocation,
        result: &Result<T, E>,
        retry_if: fn(&E) -> bool,
    ) {
        invocation.retry_if(result, retry_if);
    }
}

impl<R: ?Sized> Whole<R> {
    pub fn sent_value<X: Returned<R> + ?Sized>(&self) {}
    pub fn sent_error<X: ?Sized>(&self) {}

    pub fn retry_if_closure<E>(&self, _: &mut Invocation, _: &R, _: fn(&E) -> bool)
    where
        R: HasErrors,
    {
    }
}

/// A judge for results that have no error.
pub struct Unjudged<T: ?Sized>(PhantomData<fn(T)>);

/// Returns the probe for a result and a judge of its error.
pub const fn ask<R, F>(_: &R, _: &F) -> Ask<(R, F)> {
    Ask(AskTarget(Misjudged(Unjudged(PhantomData))))
}

impl<T, E, F: Fn(&E) -> bool> Ask<(Result<T, E>, F)> {
    pub fn retry_if_function(&self, invocation: &mut Invocation, result: &Result<T, E>, judge: F) {
        invocation.retry_if(result, judge);
    }
}

impl<T, E: Deref, F: Fn(&E::Target) -> bool> AskTarget<(Result<T, E>, F)> {
    pub fn retry_if_function(&self, invocation: &mut Invocation, result: &Result<T, E>, judge: F) {
        invocation.retry_if(result, |error| judge(error));
    }
}

impl<T, E, F> Misjudged<(Result<T, E>, F)> {
    pub fn retry_if_function(&self, _: &mut Invocation, _: &Result<T, E>, _: F)
    where
        F: Judge<E>,
    {
    }
}

impl<R, F> Unjudged<(R, F)> {
    pub fn retry_if_function(&self, _: &mut Invocation, _: &R, _: F)
    where
        R: HasErrors,
    {
    }
}

/// A state and a function of which only the call shows what it makes: a result, a future or another type.
pub struct Maker<T: ?Sized>(PhantomData<fn(T)>);

/// Returns the probe for a function that is to make the state `S`.
pub const fn beginning<S, F>(_: &F) -> Beginning<(PhantomData<S>, F)> {
    Beginning(Maker(PhantomData))
}

impl<S, F: FnOnce() -> S> Beginning<(PhantomData<S>, F)> {
    /// Returns the function. A generic one makes the state from then on.
    pub fn __making(&self, function: F) -> F {
        function
    }
}

impl<S, F> Maker<(PhantomData<S>, F)> {
    pub fn __making(&self, function: F) -> F {
        function
    }
}

/// A state and something that does not take it.
pub struct Misfit<T: ?Sized>(PhantomData<fn(T)>);

/// A function that takes the state that it was asked about.
pub struct Fitting<F>(pub F);

/// The probe for a function that is to take the state `S`.
pub const fn ending<S, F>(_: &F) -> Ending<(PhantomData<S>, F)> {
    Ending(Misfit(PhantomData))
}

impl<S, O, F: FnOnce(S) -> O> Ending<(PhantomData<S>, F)> {
    pub fn __fitted(&self, function: F) -> Fitting<F> {
        Fitting(function)
    }
}

impl<S, F> Misfit<(PhantomData<S>, F)> {
    pub fn __fitted(&self, function: F) -> F {
        function
    }
}

impl<A> Input<A> {
    /// The probe.
    pub const NEW: Self = Self(Unsent(PhantomData));
}

impl<A: Arguments> Input<A> {
    /// Calls [`Invocation::arguments`].
    pub fn __arguments(
        &self,
        invocation: &mut Invocation,
        spec: &FunctionSpec,
    ) -> Option<A::Owned> {
        invocation.arguments::<A>(spec)
    }

    /// Decodes the arguments of a call.
    pub fn __decoded(&self, message: &[u8]) -> Option<A::Owned> {
        let decoded = match staging::is_reading() {
            true => A::decode_staged(message),
            false => A::decode_in_place(message),
        };
        decoded.ok()
    }
}

impl<T: Wire> Input<(Val<T>,)> {
    /// Calls [`run_batch`].
    pub fn __batch<R>(
        &self,
        batch: &mut [Invocation],
        spec: &FunctionSpec,
        body: impl FnOnce(Vec<T>) -> Vec<R>,
        reply: impl FnMut(&mut Invocation, R),
    ) {
        run_batch(batch, spec, body, reply);
    }
}

impl<A: Parameters> Unsent<A> {
    pub fn __arguments(&self, _: &mut Invocation, _: &FunctionSpec) -> Option<A::Held> {
        None
    }

    pub fn __decoded(&self, _: &[u8]) -> Option<A::Held> {
        None
    }
}

impl<T> Unsent<(Val<T>,)> {
    pub fn __batch<R>(
        &self,
        _: &mut [Invocation],
        _: &FunctionSpec,
        _: impl FnOnce(Vec<T>) -> Vec<R>,
        _: impl FnMut(&mut Invocation, R),
    ) {
    }
}
