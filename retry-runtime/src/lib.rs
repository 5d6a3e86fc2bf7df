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

mod args;
mod backtrace;
mod block;
mod budget;
mod call;
mod capture;
mod codec;
#[cfg(feature = "cli")]
mod command_line;
mod config;
mod context;
mod crash_limit;
mod delivery;
mod engine;
mod entry;
mod error;
mod events;
mod excerpt;
mod expected;
mod faults;
mod inline;
#[cfg(feature = "json")]
mod json;
mod lineage;
mod map;
mod nested;
mod options;
mod parcel;
mod pool;
mod probe;
mod program;
mod progress;
mod recycle;
mod registry;
mod remote_error;
mod retries;
mod retryable;
mod runtime;
mod scheduler;
mod spec;
mod spin;
mod stub;
mod sys;
mod transport;
mod worker;

pub use args::Input;
pub use call::{Call, FunctionCall, Join, join};
pub use codec::Wire;
pub use context::{Attempt, AttemptOutcome, CallId, Context};
pub use crash_limit::CrashLimit;
pub use entry::init;
pub use error::{
    CallError, Cancelled, Crash, CrashLimitExceeded, ExitCause, Limit, Lost, Panic, Rejected,
    Startup, TimedOut, Waiting,
};
pub use events::{Event, Events, Stream};
#[cfg(feature = "testing")]
pub use faults::testing;
#[cfg(feature = "json")]
pub use json::Json;
pub use map::{
    ForEach, Indexed, Map, MapFuture, MapIter, MapStream, TryCollect, Unindexed, Yields,
};
pub use options::Options;
pub use remote_error::RemoteError;
pub use retries::Retries;
pub use retry_macros::{function, local_entrypoint, service, test};
pub use retryable::Retryable;
pub use runtime::{Abandoned, Builder, Drained, Runtime, Shutdown, shutdown};
pub use spec::{Batch, FunctionSpec};
pub use worker::{CancelToken, Current, Retry, current};

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
    global().subscribe()
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
    global().set_max_message(bytes);
}

/// The engine, where there is no call that could return an error.
fn global() -> &'static std::sync::Arc<engine::Engine> {
    let engine = engine::Engine::global();
    engine.expect("threads and descriptors to start the runtime with")
}

// Generated code reaches them through the module below. The compiler names them by this path, which is
// shorter, where a type does not fit.
#[doc(hidden)]
pub use args::Referred;
#[doc(hidden)]
pub use probe::Sent;
#[doc(hidden)]
pub use registry::{IntoService, IntoState, Nothing, TearDown};

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
