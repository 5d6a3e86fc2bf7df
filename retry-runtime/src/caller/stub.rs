//! The stub that an annotated function turns into.
//!
//! The stub is a chain of layers, each of which derefs to the next and the last one to the function itself.
//! The methods that callers use, such as `remote`, are inherent methods of each layer under the layer's own
//! bounds. The compiler takes the first layer whose bounds hold. So the type selects the error type, aliases
//! included, without a trait to import.
//!
//! Generated code calls methods whose names begin with `__`: a trait of the user's that every type implements may
//! have a method `map`, which method lookup would find before that of a further layer.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::api::call_id::CallId;
use crate::api::failure::Rejected;
use crate::api::options::Options;
use crate::api::remote_error::RemoteError;
use crate::api::spec::FunctionSpec;
use crate::caller::call::{Call, Decoders, FunctionCall, attach};
use crate::caller::host::Host;
use crate::caller::map::{ForEach, Map, refuse};
use crate::caller::runtime::Runtime;
use crate::checkpoint::describe;
use crate::codec::{Wire, buffers};
use crate::function::args::{
    self, Argument, Arguments, Input, Item, Parameter, Parameters, Signature,
};
use crate::function::invocation::Invocation;
use crate::function::registry::Registration;
use crate::function::service_config::ServiceConfig;
use crate::job::Encoded;
use crate::shared::{self, Objects, StagingPool};

/// The state that all layers share.
struct Target<F, A, R> {
    function: F,
    registration: &'static Registration,
    options: Options,
    runtime: Option<Runtime>,
    /// The encoded parameters of the service's constructor.
    config: Option<ServiceConfig>,
    signature: PhantomData<fn(A) -> R>,
}

impl<F, A, R> Target<F, A, R> {
    fn host(&self) -> Host {
        match &self.runtime {
            Some(runtime) => runtime.host().clone(),
            None => Host::global(),
        }
    }

    /// Encodes the arguments of a call. Those that are small for sure need no place for large contents.
    #[inline]
    fn input(
        &self,
        host: &Host,
        is_small: bool,
        encode: impl FnOnce(&mut Vec<u8>, usize) -> args::Encoded,
    ) -> Result<Encoded, Rejected> {
        let (registration, config) = (self.registration, self.config.as_ref());
        let limit = host.max_message(config);
        let staging = if is_small {
            None
        } else {
            staging(host, registration)
        };
        let mut input = buffers::take_scratch();
        let (encoded, objects) = shared::collect(staging, || encode(&mut input, limit));
        finish(registration, limit, input, encoded, objects)
    }
}

/// Returns the memory in which the arguments of a call are staged, if they can be.
fn staging(host: &Host, registration: &'static Registration) -> Option<Arc<StagingPool>> {
    // The place of a result in a cache follows from the whole encoding.
    match registration.spec.cache {
        Some(_) => None,
        None => host.staging(),
    }
}

fn finish(
    registration: &'static Registration,
    limit: usize,
    input: Vec<u8>,
    encoded: args::Encoded,
    objects: Objects,
) -> Result<Encoded, Rejected> {
    match encoded {
        Ok(whole) => Ok(Encoded {
            bytes: whole.unwrap_or_else(|| buffers::finish(input)),
            objects,
        }),
        Err((parameter, error)) => Err(refuse(registration, parameter, error, limit)),
    }
}

impl<F: Clone, A, R> Clone for Target<F, A, R> {
    fn clone(&self) -> Self {
        Self {
            function: self.function.clone(),
            runtime: self.runtime.clone(),
            config: self.config.clone(),
            ..*self
        }
    }
}

macro_rules! layers {
    ($($(#[$doc:meta])* $layer:ident => $next:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $layer<F, A, R>($next<F, A, R>);

            impl<F, A, R> Deref for $layer<F, A, R> {
                type Target = $next<F, A, R>;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }

            impl<F: Clone, A, R> Clone for $layer<F, A, R> {
                fn clone(&self) -> Self {
                    Self(self.0.clone())
                }
            }

            impl<F, A, R> $layer<F, A, R> {
                fn target(&self) -> &Target<F, A, R> {
                    self.0.target()
                }
            }
        )*
    };
}

layers! {
    /// The first layer: an error that serde can serialise arrives as itself.
    Typed => Chained;
    /// An error that is a pointer to another one, such as `anyhow::Error` or `Box<dyn Error>`.
    Chained => Standard;
    /// An error that implements `std::error::Error`, such as `std::io::Error`.
    Standard => Shown;
    /// An error that implements only `Display` and `Debug`.
    Shown => Plain;
    /// A function that does not return a `Result`.
    Plain => Failed;
    /// A function that returns a `Result`, with types that cannot be sent. The compiler reports that where
    /// the function is defined. These methods exist so that it does not report it again at each call.
    Failed => Unsent;
}

/// The last layer: a function with types that cannot be sent and that does not return a `Result`.
pub struct Unsent<F, A, R>(Target<F, A, R>);

impl<F: Clone, A, R> Clone for Unsent<F, A, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F, A, R> Deref for Unsent<F, A, R> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.0.function
    }
}

impl<F, A, R> Unsent<F, A, R> {
    fn target(&self) -> &Target<F, A, R> {
        &self.0
    }
}

impl<F, A, R> fmt::Debug for Typed<F, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name()).finish()
    }
}

impl<F, A, R> Typed<F, A, R> {
    /// Returns the stub of a registered function.
    pub const fn new(function: F, registration: &'static Registration) -> Self {
        Self::of(Target {
            function,
            registration,
            options: Options::new(),
            runtime: None,
            config: None,
            signature: PhantomData,
        })
    }

    const fn of(target: Target<F, A, R>) -> Self {
        Self(Chained(Standard(Shown(Plain(Failed(Unsent(target)))))))
    }

    /// Returns the same function with some of its options overridden.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self
    where
        F: Copy,
    {
        let target = self.target();
        Self::of(Target {
            options: options.over(target.options),
            runtime: target.runtime.clone(),
            config: target.config.clone(),
            ..*target
        })
    }

    /// Returns the same function with the workers of a runtime.
    #[must_use]
    pub fn on(&self, runtime: &Runtime) -> Self
    where
        F: Copy,
    {
        let target = self.target();
        Self::of(Target {
            runtime: Some(runtime.clone()),
            config: target.config.clone(),
            ..*target
        })
    }

    /// Returns the same function with the workers of one configuration of its service.
    #[doc(hidden)]
    #[must_use]
    pub fn of_service(&self, config: &ServiceConfig) -> Self
    where
        F: Copy,
    {
        let target = self.target();
        Self::of(Target {
            runtime: target.runtime.clone(),
            config: Some(config.clone()),
            ..*target
        })
    }

    /// Returns the registered name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec().name
    }

    /// Returns the static description.
    #[must_use]
    pub fn spec(&self) -> &'static FunctionSpec {
        self.target().registration.spec
    }
}

/// Expands a macro for each number of parameters that a function may have.
macro_rules! for_each_arity {
    ($expand:ident $layer:tt) => {
        $expand!($layer);
        $expand!($layer P0 p0 0);
        $expand!($layer P0 p0 0, P1 p1 1);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5, P6 p6 6);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5, P6 p6 6, P7 p7 7);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5, P6 p6 6, P7 p7 7,
            P8 p8 8);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5, P6 p6 6, P7 p7 7,
            P8 p8 8, P9 p9 9);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5, P6 p6 6, P7 p7 7,
            P8 p8 8, P9 p9 9, P10 p10 10);
        $expand!($layer P0 p0 0, P1 p1 1, P2 p2 2, P3 p3 3, P4 p4 4, P5 p5 5, P6 p6 6, P7 p7 7,
            P8 p8 8, P9 p9 9, P10 p10 10, P11 p11 11);
    };
}

/// Encodes all parameters, or the only one as a message of its own.
macro_rules! encode_arguments {
    ($out:ident, $limit:ident; $P:ident $p:ident $index:tt) => {
        $P::encode_alone($p, $out, $limit).map_err(|error| ($index, error))
    };
    ($out:ident, $limit:ident; $($P:ident $p:ident $index:tt),*) => {{
        $($P::encode(&$p, $out, $limit).map_err(|error| ($index, error))?;)*
        Ok(None)
    }};
}

/// Implements `remote` and `spawn` of one layer for one number of parameters.
macro_rules! call {
    ([[$layer:ident] [$($bounds:tt)*] [$R:ty] [$T:ty] [$E:ty] [$decoders:expr]]
     $($P:ident $p:ident $index:tt),*) => {
        #[expect(clippy::too_many_arguments, reason = "as many as the function has")]
        #[allow(unfulfilled_lint_expectations)]
        impl<F, $($P: Argument,)* $($bounds)*> $layer<F, ($($P,)*), $R> {
            /// Returns a lazy call in a worker process: `.await` it, or `.wait()` to block.
            #[track_caller]
            pub fn remote(&self, $($p: $P::Passed<'_>),*) -> Call<$T, $E> {
                let target = self.target();
                let host = target.host();
                let is_small = const { true $(&& $P::IS_SMALL)* };
                #[allow(unused_variables)]
                let input = target.input(&host, is_small, |out, limit| {
                    encode_arguments!(out, limit; $($P $p $index),*)
                });
                Call::new(host, target.config.clone(), target.registration, target.options, input, $decoders, describe::<($($P,)*), $T>)
            }

            /// Starts a call in a worker process, which runs on its own.
            #[track_caller]
            pub fn spawn(&self, $($p: $P::Passed<'_>),*) -> FunctionCall<$T, $E> {
                self.remote($($p),*).spawn()
            }
        }
    };
}

/// Implements one layer. The methods that take inputs are named at each invocation: if the items do not fit,
/// the compiler shows that line to the user. Otherwise it would show this macro and its whole invocation.
macro_rules! layer {
    ($layer:ident [$($bounds:tt)*] $R:ty => $T:ty, $E:ty, $decoders:expr,
     fn $map:ident, $for_each:ident<$a:lifetime, I: $Inputs:path>,
     |$result:ident, $invocation:ident| $reply:expr) => {
        impl<F, A: Arguments + Parameters + Signature<Arguments = A>, $($bounds)*> $layer<F, A, $R> {
            /// Returns a lazy map of the function over many inputs: one input per item, a tuple if the
            /// function has several parameters.
            #[track_caller]
            pub fn $map<$a, I: $Inputs>(&self, inputs: I) -> Map<I::IntoIter, $T, $E> {
                self.__map(inputs)
            }

            #[track_caller]
            #[doc(hidden)]
            pub fn __map<$a, I: $Inputs>(&self, inputs: I) -> Map<I::IntoIter, $T, $E> {
                let target = self.target();
                Map::new(
                    target.host(),
                    target.config.clone(),
                    target.registration,
                    target.options,
                    $decoders,
                    inputs.into_iter(),
                    |item, out, limit| item.encode_item(out, limit),
                    describe::<A, $T>,
                )
            }

            /// Runs the function over many inputs for its effects; the first error cancels the rest.
            #[track_caller]
            pub fn $for_each<$a, I: $Inputs>(&self, inputs: I) -> ForEach<I::IntoIter, $T, $E> {
                ForEach::new(self.__map(inputs))
            }

            /// Returns a call that was spawned before, in this program or an earlier one of the same build, to wait for
            /// its result.
            pub fn attach(&self, call: CallId) -> FunctionCall<$T, $E> {
                self.__attach(call)
            }

            #[doc(hidden)]
            pub fn __attach(&self, call: CallId) -> FunctionCall<$T, $E> {
                let target = self.target();
                attach(target.host(), target.registration, $decoders, call)
            }

            /// A call in a worker process with a tuple of arguments.
            #[track_caller]
            #[doc(hidden)]
            pub fn __call(&self, passed: A::Passed<'_>) -> Call<$T, $E> {
                let target = self.target();
                let host = target.host();
                let input = target.input(&host, A::IS_SMALL, |out, limit| A::encode_all(passed, out, limit));
                Call::new(host, target.config.clone(), target.registration, target.options, input, $decoders, describe::<A, $T>)
            }

            #[doc(hidden)]
            pub fn __reply(&self, $invocation: &mut Invocation, $result: $R) {
                $reply
            }
        }

        for_each_arity!(call [[$layer] [$($bounds)*] [$R] [$T] [$E] [$decoders]]);
    };
}

layer! {
    Typed [T: Wire, E: Wire] Result<T, E> => T, E, Decoders::wire(),
    fn map, for_each<'a, I: IntoIterator<Item: Input<A, A::Shown<'a>>>>,
    |result, invocation| match result {
        Ok(value) => invocation.succeed(value),
        Err(error) => invocation.fail(&error),
    }
}

layer! {
    Chained [T: Wire, E: Deref<Target: Error> + Debug] Result<T, E> => T, RemoteError, Decoders::wire(),
    fn map, for_each<'a, I: IntoIterator<Item: Input<A, A::Shown<'a>>>>,
    |result, invocation| match result {
        Ok(value) => invocation.succeed(value),
        Err(error) => {
            invocation.fail_as_text(|| RemoteError::chained(&*error, format!("{error:?}")));
        }
    }
}

layer! {
    Standard [T: Wire, E: Error] Result<T, E> => T, RemoteError, Decoders::wire(),
    fn map, for_each<'a, I: IntoIterator<Item: Input<A, A::Shown<'a>>>>,
    |result, invocation| match result {
        Ok(value) => invocation.succeed(value),
        Err(error) => {
            invocation.fail_as_text(|| RemoteError::chained(&error, format!("{error:?}")));
        }
    }
}

layer! {
    Shown [T: Wire, E: Display + Debug] Result<T, E> => T, RemoteError, Decoders::wire(),
    fn map, for_each<'a, I: IntoIterator<Item: Input<A, A::Shown<'a>>>>,
    |result, invocation| match result {
        Ok(value) => invocation.succeed(value),
        Err(error) => invocation.fail_as_text(|| RemoteError::shown(&error)),
    }
}

layer! {
    Plain [T: Wire] T => T, Infallible, Decoders::infallible(),
    fn map, for_each<'a, I: IntoIterator<Item: Input<A, A::Shown<'a>>>>,
    |result, invocation| invocation.succeed(result)
}

/// Implements `remote` and `spawn` for a function with a type that cannot be sent.
macro_rules! unsent_call {
    ([[$layer:ident] [$($bounds:tt)*] [$R:ty] [$T:ty] [$E:ty]]
     $($P:ident $p:ident $index:tt),*) => {
        #[expect(clippy::too_many_arguments, reason = "as many as the function has")]
        #[allow(unfulfilled_lint_expectations)]
        impl<F, $($P: Parameter,)* $($bounds)*> $layer<F, ($($P,)*), $R> {
            #[doc(hidden)]
            pub fn remote(&self, $(_: $P::Passed<'_>),*) -> Call<$T, $E> {
                never_compiled()
            }

            #[doc(hidden)]
            pub fn spawn(&self, $(_: $P::Passed<'_>),*) -> FunctionCall<$T, $E> {
                never_compiled()
            }
        }
    };
}

macro_rules! unsent {
    ($layer:ident [$($bounds:tt)*] $R:ty => $T:ty, $E:ty) => {
        #[doc(hidden)]
        impl<F, A, $($bounds)*> $layer<F, A, $R> {
            pub fn map<I: IntoIterator>(&self, _: I) -> Map<I::IntoIter, $T, $E> {
                never_compiled()
            }

            pub fn for_each<I: IntoIterator>(&self, _: I) -> ForEach<I::IntoIter, $T, $E> {
                never_compiled()
            }

            pub fn attach(&self, _: CallId) -> FunctionCall<$T, $E> {
                never_compiled()
            }

            pub fn __map<I: IntoIterator>(&self, _: I) -> Map<I::IntoIter, $T, $E> {
                never_compiled()
            }

            pub fn __attach(&self, _: CallId) -> FunctionCall<$T, $E> {
                never_compiled()
            }

            pub fn __call(&self, _: A::Passed<'_>) -> Call<$T, $E>
            where
                A: Parameters,
            {
                never_compiled()
            }

            pub fn __reply(&self, _: &mut Invocation, _: $R) {
                never_compiled()
            }
        }

        for_each_arity!(unsent_call [[$layer] [$($bounds)*] [$R] [$T] [$E]]);
    };
}

unsent! { Failed [T, E] Result<T, E> => T, E }
unsent! { Unsent [R] R => R, Infallible }

/// The body of methods on types that cannot be sent, in a program that therefore does not compile.
fn never_compiled() -> ! {
    unreachable!("generated code asserts that all types can be sent")
}
