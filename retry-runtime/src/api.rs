//! Types that users name, and nothing that acts: errors and their context, policies, events.

pub(crate) mod backtrace;
pub(crate) mod call_id;
pub(crate) mod context;
pub(crate) mod crash_limit;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod excerpt;
pub(crate) mod failure;
pub(crate) mod histogram;
#[cfg(feature = "json")]
pub(crate) mod json;
pub(crate) mod options;
pub(crate) mod remote_error;
pub(crate) mod retries;
pub(crate) mod retryable;
pub(crate) mod run;
pub(crate) mod spec;
#[cfg(any(feature = "report", feature = "tracing"))]
pub(crate) mod utc;
