//! What generated code names. The number in the module's name is the patch version, so that
//! macros and runtime of different versions do not meet unnoticed.
#![allow(missing_docs)]

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use crate::args::{Argument, Arguments, Ref, Val};
pub use crate::entry::{enter_test, init};
pub use crate::program::{begin, finish};
pub use crate::registry::{Registration, Run, SetUp, Submission, set_up, tear_down};
pub use crate::retryable::{Probe, Says, Silent};
pub use crate::stub::Typed;
pub use crate::worker::{Batched, Invocation, LocalFuture, State, block_on, run_batch};
pub use crate::{CrashLimit, FunctionSpec, Retries};
#[cfg(feature = "cli")]
pub use clap;
pub use inventory;

/// What an async function's pointer returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A retry policy from a constant: of type `Retries`, or a number.
pub struct RetriesFrom<T>(pub T);

impl RetriesFrom<Retries> {
    #[must_use]
    pub const fn get(self) -> Retries {
        self.0.checked()
    }
}

impl RetriesFrom<u32> {
    #[must_use]
    pub const fn get(self) -> Retries {
        Retries::fixed(self.0, Duration::from_secs(1))
    }
}

/// A limit in time from a constant.
pub struct DurationFrom<T>(pub T);

impl DurationFrom<Duration> {
    #[must_use]
    pub const fn get(self) -> Duration {
        assert!(
            !self.0.is_zero(),
            "a limit in time must be longer than zero"
        );
        self.0
    }
}

/// Fails to compile, at the parameter's type, if it cannot be sent.
pub const fn assert_argument<P: Argument>() {}

/// Runs an async `main`.
///
/// # Panics
///
/// If the operating system does not give what an async runtime needs.
pub fn block_on_main<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("an async runtime can be started")
        .block_on(future)
}

/// Runs an async test.
pub fn block_on_test<F: Future>(future: F) -> F::Output {
    block_on(future)
}

/// Parses the command line of a program without parameters.
#[cfg(feature = "cli")]
pub fn no_arguments(name: &'static str, about: &'static str) {
    let command = clap::Command::new(name);
    let command = if about.is_empty() {
        command
    } else {
        command.about(about)
    };
    command.get_matches();
}

/// Without the feature `cli` the command line is the program's own business.
#[cfg(not(feature = "cli"))]
pub fn no_arguments(_: &'static str, _: &'static str) {}

#[cfg(feature = "cli")]
#[macro_export]
#[doc(hidden)]
macro_rules! __require_cli {
    () => {};
}

#[cfg(not(feature = "cli"))]
#[macro_export]
#[doc(hidden)]
macro_rules! __require_cli {
    () => {
        ::core::compile_error!(
            "parameters of `main` become command line options, which needs the feature `cli` of \
             retry-runtime"
        );
    };
}

pub use crate::__require_cli as require_cli;
