//! Runs annotated functions in worker processes, one call or a map over many inputs at a time, with retries
//! by a policy that the compiler checks. A panic, a hang, a leak or a segfault costs one attempt in one
//! worker, and the caller gets a typed error.
//!
//! ```standalone_crate
//! use retry_runtime::{CallError, function, local_entrypoint};
//!
//! #[derive(Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
//! enum ParseError {
//!     #[error("line {0} is empty")]
//!     Empty(usize),
//! }
//!
//! #[function(retries(max_retries = 3, initial_delay = "10ms"), timeout = "10s")]
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
//! # Overview
//!
//! | to | use |
//! |---|---|
//! | let a function run in workers | [`#[function]`](macro@function), whose page lists all options |
//! | call it | the methods of its [stub](doc::Stub): `remote`, `map`, `spawn`, `attach`, `for_each`, `on`, `with_options`, `local`, `name`, `spec` |
//! | let methods share a value per worker | [`#[service]`](macro@service) |
//! | say where a process becomes a worker | [`#[local_entrypoint]`](macro@local_entrypoint) or [`init`], and [`#[test]`](macro@test) in tests |
//! | show progress and end in order in a `main` of one's own | [`run`], [`run_async`], and [`Program`] with settings |
//! | set up logging or a panic hook in every process | [`#[on_start]`](macro@on_start) |
//! | see the logs of workers in the program | the feature `tracing`, and `logging` for the time of a record |
//! | handle failures | [`CallError`] and its [`Context`]; [`RemoteError`] for errors that serde cannot carry |
//! | decide about retries | [`Retries`], [`Retryable`], [`CrashLimit`] |
//! | consume many results | [`Map`], [`join`] |
//! | keep results for the next start | `Map::checkpoint`, and the option `cache` (feature `checkpoint`) |
//! | override options for some calls | [`Options`] |
//! | stop early in a running function | [`current()`], [`CancelToken`] |
//! | observe calls and workers | [`events()`], [`Event`] |
//! | look at a run afterwards | `RETRY_REPORT`, `RETRY_TRACE` and `RETRY_EVENTS`; [`report`] for an earlier run |
//! | have separate pools, or end in order | [`Runtime`], [`shutdown`] |
//! | send a type that needs a self-describing format | [`Json`] (feature `json`) |
//! | test a policy | [`testing`] (feature `testing`) |
//!
//! # Workers
//!
//! A worker is a further process of the same program. It serves one function, or one service with one set
//! of parameters. Workers start on demand, are kept and used again, and are replaced when they die. A process
//! in which neither [`init`] nor one of the attributes above ran does not start workers: its calls are
//! [`Rejected`](error::Rejected::NotInitialised).
//!
//! A worker never reads from standard input. Its output passes through the parent line by line, before the
//! result of the call that printed it. When the parent dies, its workers end with everything that they have
//! started.
//!
//! # At least once
//!
//! A call whose worker dies is run again, and a worker may die after the function has done its work and
//! before its result is known. A function may therefore run more often than once for one call, and should
//! be idempotent. `#[function(at_most_once)]` ends such a call with [`CallError::Crashed`] instead.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `cli` | yes | command line options for the parameters of a [`#[local_entrypoint]`](macro@local_entrypoint), through clap |
//! | `checkpoint` | no | `Map::checkpoint`, and the option `cache` of [`#[function]`](macro@function): results that outlive the program |
//! | `json` | no | [`Json`] |
//! | `progress` | yes | the [display of progress](progress) under [`run`] and `#[local_entrypoint]` |
//! | `report` | yes | the [report](runtime::Builder::report_file) of a run, a page of HTML |
//! | `tracing` | no | spans of calls and attempts, and spans and events of workers, for the subscriber of the program |
//! | `testing` | no | the module [`testing`] |
//!
//! # Platform
//!
//! Worker processes need Linux 5.11 or newer, since they are supervised through `pidfd`, `epoll` and sealed
//! shared memory. On other systems, on which the crate is untested, functions run on threads of the program as
//! with [`Builder::inline`](runtime::Builder::inline), and the first call says so on standard error.
//!
//! The minimum supported Rust version is 1.95; a patch release never raises it.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Parts of the shared code serve worker processes alone.
#![cfg_attr(
    not(all(target_os = "linux", not(retry_no_processes))),
    allow(dead_code, unused_imports)
)]

mod agent;
mod api;
mod caller;
#[cfg(feature = "checkpoint")]
mod checkpoint;
#[cfg(not(feature = "checkpoint"))]
#[path = "checkpoint/absent.rs"]
mod checkpoint;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
mod child;
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
#[path = "child/elsewhere.rs"]
mod child;
mod codec;
mod config;
#[cfg(any(doc, doctest))]
pub mod doc;
mod fleet;
mod function;
mod inline;
mod job;
mod local;
mod observe;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
mod process;
mod program;
mod runtime_thread;
mod scheduler;
mod shared;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(not(feature = "tracing"))]
#[path = "spans/absent.rs"]
mod spans;
mod sys;
#[cfg_attr(not(feature = "progress"), allow(dead_code))]
mod terminal;
mod wait;
mod wire;

#[doc = include_str!("../docs/function.md")]
///
/// # See also
///
/// [`Stub`](doc::Stub), [`Call`], [`Map`], [`FunctionCall`], [`ForEach`], [`Retries`],
/// [`Retryable`], [`CrashLimit`], [`CallError`], [`RemoteError`], [`CancelToken`],
/// [`FunctionSpec`], [`macro@local_entrypoint`], [`init`], [`macro@test`],
/// [`macro@service`].
pub use retry_macros::function;
#[doc = include_str!("../docs/local_entrypoint.md")]
///
/// # See also
///
/// [`run`] and [`run_async`] for any other `main`, [`init`], [`shutdown`], [`macro@on_start`],
/// [`macro@function`], [`macro@test`].
pub use retry_macros::local_entrypoint;
#[doc = include_str!("../docs/on_start.md")]
///
/// # See also
///
/// [`init`], [`macro@local_entrypoint`], [`CallError::Startup`].
pub use retry_macros::on_start;
#[doc = include_str!("../docs/service.md")]
///
/// # See also
///
/// [`macro@function`], [`Stub`](doc::Stub) for the methods of the handle's fields, [`CallError::Startup`].
pub use retry_macros::service;
#[doc = include_str!("../docs/test.md")]
///
/// # See also
///
/// [`macro@local_entrypoint`], [`init`], [`Rejected`].
pub use retry_macros::test;

pub use api::context::Context;
pub use api::crash_limit::CrashLimit;
pub use api::error::CallError;
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use api::json::Json;
pub use api::options::Options;
pub use api::remote_error::RemoteError;
pub use api::retries::Retries;
pub use api::retryable::{Retry, Retryable};
pub use caller::call::{Call, FunctionCall, join};
pub use caller::map::Map;
pub use caller::runtime::{Runtime, shutdown};
pub use function::current::current;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub use job::faults::testing;
pub use program::serving::{init, serve};
pub use program::{Program, run, run_async};
pub use shared::Shared;

/// Contains the parser of the command line, for types that derive its traits. The page of `#[local_entrypoint]`
/// documents it.
// Hidden, and not a re-export of the crate: the compiler would take the names of clap into account, and would
// spell `String` in full in messages about a user's types.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod clap {
    pub use ::clap::*;
}

// These names are documented in the modules below.
#[doc(hidden)]
pub use api::call_id::{CallId, InvalidCallId};
#[doc(hidden)]
pub use api::context::{Attempt, AttemptOutcome};
#[doc(hidden)]
pub use api::events::{CallOutcome, Event, EventKind, Events, Stream, Timestamp, WorkerId};
#[doc(hidden)]
pub use api::failure::{
    Cancelled, Crash, CrashLimitExceeded, ExitCause, Limit, Lost, Panic, Rejected, Startup,
    TimedOut, Waiting,
};
#[doc(hidden)]
pub use api::run::{InvalidRunId, RunId};
#[doc(hidden)]
pub use api::spec::{Batch, FunctionSpec};
#[doc(hidden)]
pub use caller::call::Join;
#[doc(hidden)]
pub use caller::map::{
    ForEach, Indexed, MapFuture, MapIter, MapStream, TryCollect, Unindexed, Yields,
};
#[doc(hidden)]
pub use caller::runtime::{Abandoned, Builder, Drained, Shutdown};
#[doc(hidden)]
pub use codec::Wire;
#[doc(hidden)]
pub use config::{FailOn, OutputMode, ProgressMode, StatusMode, Transport};
#[doc(hidden)]
pub use function::args::Input;
#[doc(hidden)]
pub use function::current::{CancelToken, Current};
#[doc(hidden)]
pub use observe::log::Log;
#[doc(hidden)]
pub use shared::Shareable;

/// Single calls.
pub mod call {
    pub use crate::caller::call::{Call, FunctionCall, Join, join};
}

/// The call that a function is running for.
pub mod current {
    pub use crate::function::current::{CancelToken, Current, current};
}

/// The errors of a call, and their circumstances.
///
/// [`CallError`] is the error of every call. Its variants hold the types of this module, and a [`Context`].
pub mod error {
    pub use crate::api::call_id::{CallId, InvalidCallId};
    pub use crate::api::context::{Attempt, AttemptOutcome, Context};
    pub use crate::api::error::CallError;
    pub use crate::api::failure::{
        Cancelled, Crash, CrashLimitExceeded, ExitCause, Limit, Lost, Panic, Rejected, Startup,
        TimedOut, Waiting,
    };
    pub use crate::api::remote_error::RemoteError;
}

/// Engines: carrying calls to other machines.
///
/// A program uses an engine by naming its crate and its address, in `RETRY_ENGINE` or
/// [`Builder::engine`](crate::runtime::Builder::engine); other machines run the same program as
/// [agents](crate::serve). This module is for crates that connect an engine: they implement
/// [`Engine`](engine::Engine) for the machines that make calls, drive an [`Agent`](engine::Agent) on those that run them, and [register](crate::register_engine) both.
///
/// # What an engine has to keep
///
/// - It delivers a task to one machine at a time, and again to another one only when it has heard nothing from
///   the first for the task's `host_timeout`, or with
///   [`Verdict::Again`](engine::Verdict::Again).
/// - It delivers a task with the last ledger that it has acknowledged, and refuses acknowledgements and verdicts
///   of a machine that has lost the task.
/// - It may deliver a task any number of times, and lose deliveries. Machines that were lost are counted in the
///   ledger.
pub mod engine {
    pub use crate::agent::scheme::Scheme;
    pub use crate::agent::{Agent, Decided, Execution};
    pub use crate::api::engine::{
        Delivery, Engine, Found, Hosts, InvalidQueue, Queue, Reply, Task, TaskEnd, TaskId, Verdict,
    };
    #[doc(hidden)]
    pub use inventory;
}

/// Events: the stream of everything that happens to calls and workers.
///
/// [`events()`](crate::events()) subscribes to the default runtime,
/// [`Runtime::events`](crate::Runtime::events) to a separate one.
pub mod events {
    pub use crate::api::events::{
        CallOutcome, Event, EventKind, Events, Stream, Timestamp, WorkerId,
    };
    pub use crate::api::run::{InvalidRunId, RunId};
    pub use crate::observe::log::Log;
}

/// Logging: the time of what workers record for a subscriber of the crate `tracing`.
///
/// With the feature `tracing`, a subscriber that the program installs after [`init`] gets a span for each call
/// and for each attempt, and the spans and events of the functions that run in workers, below their attempts.
/// The variable `RUST_LOG` filters inside of the workers. The guide has a page about it.
///
/// ```standalone_crate
/// use retry_runtime::{function, local_entrypoint};
///
/// #[function]
/// fn resize(width: u32) -> u32 {
///     tracing::info!(width, "resizing");
///     width / 2
/// }
///
/// #[local_entrypoint]
/// fn main() {
///     // Prints `INFO call{function="resize"}:attempt{attempt=1 worker=w1 pid=..}: resizing width=640`.
///     tracing_subscriber::fmt().with_writer(std::io::stderr).init();
///     assert_eq!(resize.remote(640).wait().unwrap(), 320);
/// }
/// ```
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod logging {
    pub use crate::spans::time::{RecordedTime, recorded_at};
}

/// Maps: one function over many inputs.
pub mod map {
    pub use crate::caller::map::{
        ForEach, Indexed, Map, MapFuture, MapIter, MapStream, TryCollect, Unindexed, Yields,
    };
}

/// Options, and the policies that they take.
pub mod policy {
    pub use crate::api::crash_limit::CrashLimit;
    pub use crate::api::options::Options;
    pub use crate::api::retries::Retries;
    pub use crate::api::retryable::{Retry, Retryable};
    pub use crate::api::spec::{Batch, FunctionSpec};
}

/// The display of progress, under [`run`] and [`#[local_entrypoint]`](macro@local_entrypoint).
///
/// On a terminal it is a bar for each function with the time that has passed, the results and the inputs of its maps,
/// failures, retries, the rate and the time that is left. A line below names what the workers wait for, such as a
/// program that does not take results, and the inputs that execute for long. It is shown once calls have been pending
/// for a second, and is never there while the program prints: it disappears before a call or a map returns, and comes
/// back when the program waits again.
///
/// A line every ten seconds has the same numbers if standard error is not a terminal, if `CI` or `NO_COLOR` is set, or
/// if `TERM` is `dumb`. [`Program::progress`] or `RETRY_PROGRESS` chooses between both.
#[cfg(feature = "progress")]
#[cfg_attr(docsrs, doc(cfg(feature = "progress")))]
pub mod progress {
    pub use indicatif::MultiProgress;

    pub use crate::program::progress::{adopt, set_visible, suspend};
}

/// Reports and traces of earlier runs, from their event logs.
///
/// A run writes both itself with `RETRY_REPORT` and `RETRY_TRACE`. These functions are for a run that was killed,
/// or that has only an [event log](crate::events::Log).
pub mod report {
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    pub use crate::observe::offline::from_log;
    pub use crate::observe::offline::trace_from_log;
}

/// Runtimes: separate pools of workers, and their shutdown.
pub mod runtime {
    pub use crate::caller::runtime::{Abandoned, Builder, Drained, Runtime, Shutdown, shutdown};
    pub use crate::config::{FailOn, OutputMode, ProgressMode, StatusMode, Transport};
}

/// Types whose values are sent between processes.
///
/// A value arrives as it was sent, or the call is refused. The wire format has no names, so types with
/// serde's `flatten`, `untagged`, `tag` or `skip_serializing_if`, and `serde_json::Value`, are refused by
/// name; `Json` (feature `json`) carries them.
pub mod values {
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    pub use crate::api::json::Json;
    pub use crate::codec::Wire;
    pub use crate::function::args::Input;
    pub use crate::shared::{Shareable, Shared};
    pub use crate::sys::Number;
}

/// Subscribes to the events of the default runtime, from now on.
///
/// ```no_run
/// for event in retry_runtime::events() {
///     eprintln!("{event:?}");
/// }
/// ```
///
/// # Panics
///
/// Panics if the operating system has no thread, descriptor or memory left to start the runtime with.
#[must_use]
pub fn events() -> Events {
    caller::host::Host::global().subscribe()
}

/// Limits the size in bytes of the arguments of one call, and of one result.
///
/// The default is 256 MiB, or the variable `RETRY_MAX_MESSAGE`. A limit below 64 bytes or above 4 GiB - 16 MiB is
/// moved there. The new limit applies to calls that are made and workers that are started from now on, and has no
/// effect in a worker. An [`engine`] may have a lower one of its own. Larger arguments are
/// [`Rejected`](error::Rejected::TooLarge), larger results and typed errors [`Lost`].
///
/// ```no_run
/// retry_runtime::set_max_message(1 << 30); // 1 GiB
/// ```
///
/// # Panics
///
/// Panics if the operating system has no thread, descriptor or memory left to start the runtime with.
pub fn set_max_message(bytes: usize) {
    caller::host::Host::global().set_max_message(bytes);
}

// Generated code reaches these through the module below. They are exported here because the compiler names
// them by their shortest path where a type does not fit.
#[doc(hidden)]
pub use function::args::Referred;
#[doc(hidden)]
pub use function::on_start::{EndsStart, OtherStart};
#[doc(hidden)]
pub use function::probe::Sent;
#[doc(hidden)]
pub use function::registry::{IntoService, IntoState, Nothing, TearDown};

/// Names that generated code uses. Nothing in here is stable.
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private0;

/// Every name is available at the root, including those that the documentation shows in modules.
///
/// ```
/// # #![allow(unused_imports)]
/// use retry_runtime::{
///     Abandoned, Attempt, AttemptOutcome, Batch, Builder, Call, CallError, CallId, CancelToken, Cancelled,
///     Context, Crash, CrashLimit, CrashLimitExceeded, Current, Drained, Event, Events, ExitCause, ForEach,
///     FunctionCall, FunctionSpec, Indexed, Input, InvalidCallId, InvalidRunId, Join, Limit, Lost, Map,
///     MapFuture, MapIter, MapStream, Options, OutputMode, Panic, Program, ProgressMode, Rejected, RemoteError,
///     Retries, Retry, Retryable, RunId, Runtime, Shutdown, Startup, Stream, TimedOut, Transport, TryCollect,
///     Unindexed, Waiting, Wire, Yields,
///     current, events, function, init, join, local_entrypoint, on_start, run, run_async, service,
///     set_max_message, shutdown, test,
/// };
/// ```
#[cfg(doctest)]
struct NamesAtTheRoot;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/calling.md")]
struct GuideCalling;

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
#[doc = include_str!("../../docs/guide/failures.md")]
struct GuideFailures;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/large.md")]
struct GuideLarge;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/limits.md")]
struct GuideLimits;

#[cfg(all(doctest, feature = "tracing"))]
#[doc = include_str!("../../docs/guide/logging.md")]
struct GuideLogging;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/machines.md")]
struct GuideMachines;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/nesting.md")]
struct GuideNesting;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/programs.md")]
struct GuidePrograms;

#[cfg(all(doctest, feature = "report"))]
#[doc = include_str!("../../docs/guide/reports.md")]
struct GuideReports;

#[cfg(all(doctest, feature = "checkpoint"))]
#[doc = include_str!("../../docs/guide/resuming.md")]
struct GuideResuming;

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
