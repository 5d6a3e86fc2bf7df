//! Run annotated functions in worker processes, retried by a policy that the compiler has
//! checked, with the death of a process costing nothing but the attempt that ran in it.
//!
//! ```no_run
//! use retry_runtime::{CallError, function, local_entrypoint};
//!
//! #[derive(Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
//! enum ParseError {
//!     #[error("line {0} is empty")]
//!     Empty(usize),
//! }
//!
//! #[function(retries = 3)]
//! fn parse(number: usize, line: String) -> Result<usize, ParseError> {
//!     if line.is_empty() { Err(ParseError::Empty(number)) } else { Ok(line.len()) }
//! }
//!
//! #[local_entrypoint]
//! fn main() {
//!     for result in parse.map(["one", "", "three"].map(String::from).into_iter().enumerate()) {
//!         match result {
//!             Ok(length) => println!("{length}"),
//!             Err(CallError::Function(ParseError::Empty(line), _)) => println!("no line {line}"),
//!             Err(error) => eprintln!("{error}"),
//!         }
//!     }
//! }
//! ```
//!
//! # At least once
//!
//! A call whose worker dies is run again, and a worker may die after the function has done its
//! work and before its result is known. A function may therefore run more often than once for
//! one call, and should be idempotent. `#[function(at_most_once)]` gives the call up instead.
//!
//! # Platform
//!
//! Linux, since processes are supervised through `pidfd`, `epoll` and sealed shared memory.

#[cfg(not(target_os = "linux"))]
compile_error!("retry-runtime supervises its workers through interfaces that only Linux has");

mod api;
mod caller;
mod child;
mod codec;
mod config;
mod engine;
mod function;
mod inline;
mod job;
mod process;
mod program;
mod scheduler;
mod sys;
mod terminal;
mod wait;
mod wire;

pub use api::context::{Attempt, AttemptOutcome, CallId, Context};
pub use api::crash_limit::CrashLimit;
pub use api::error::{
    CallError, Cancelled, Crash, CrashLimitExceeded, ExitCause, Limit, Lost, Panic, Rejected,
    Startup, TimedOut, Waiting,
};
pub use api::events::{Event, Events, Stream};
#[cfg(feature = "json")]
pub use api::json::Json;
pub use api::options::Options;
pub use api::remote_error::RemoteError;
pub use api::retries::Retries;
pub use api::retryable::{Retry, Retryable};
pub use api::spec::{Batch, FunctionSpec};
pub use caller::call::{Call, FunctionCall, Join, join};
pub use caller::map::{
    ForEach, Indexed, Map, MapFuture, MapIter, MapStream, TryCollect, Unindexed, Yields,
};
pub use caller::runtime::{Abandoned, Builder, Drained, Runtime, Shutdown, shutdown};
pub use child::init;
pub use codec::Wire;
pub use function::args::Input;
pub use function::current::{CancelToken, Current, current};
#[cfg(feature = "testing")]
pub use job::faults::testing;
pub use retry_macros::{function, local_entrypoint, service, test};

/// What happens to calls and workers from now on.
///
/// ```no_run
/// for event in retry_runtime::events() {
///     eprintln!("{event:?}");
/// }
/// ```
///
/// # Panics
///
/// If the operating system has no thread, descriptor or memory left to start the runtime with.
#[must_use]
pub fn events() -> Events {
    caller::host::expect_global().subscribe()
}

/// Sets the largest size in bytes of one call's arguments, and of one result; 256 MiB unless
/// the variable `RETRY_MAX_MESSAGE` says otherwise.
///
/// It holds for calls that are made and workers that are started from now on.
///
/// # Panics
///
/// If the operating system has no thread, descriptor or memory left to start the runtime with.
pub fn set_max_message(bytes: usize) {
    caller::host::expect_global().set_max_message(bytes);
}

/// For generated code alone: nothing in here is stable.
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private0;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/cancellation.md")]
struct GuideCancellation;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/configuration.md")]
struct GuideConfiguration;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/deploying.md")]
struct GuideDeploying;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/limits.md")]
struct GuideLimits;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/nesting.md")]
struct GuideNesting;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/state.md")]
struct GuideState;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../docs/guide/testing.md")]
struct GuideTesting;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/together.md")]
struct GuideTogether;

#[cfg(all(doctest, feature = "json"))]
#[doc = include_str!("../../docs/guide/values.md")]
struct GuideValues;
