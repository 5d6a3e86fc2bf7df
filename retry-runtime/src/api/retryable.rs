//! Errors that decide themselves whether they are retried.

use std::time::Duration;

/// An error that decides itself whether it is retried.
///
/// The implementation is found by type, so the attribute need not mention it. A `retry_if` of the function
/// takes precedence. [`retry`](Self::retry) runs in the worker, before the error is encoded.
///
/// ```
/// use retry_runtime::{Retry, Retryable, function};
/// use std::time::Duration;
///
/// #[derive(Debug, serde::Serialize, serde::Deserialize)]
/// enum FetchError {
///     NotFound,
///     Busy { retry_after: Duration },
///     Reset,
/// }
///
/// impl Retryable for FetchError {
///     fn retry(&self) -> Retry {
///         match self {
///             Self::NotFound => Retry::No,
///             Self::Busy { retry_after } => Retry::After(*retry_after),
///             Self::Reset => Retry::Default,
///         }
///     }
/// }
///
/// #[function(retries = 5)]
/// fn fetch(url: &str) -> Result<String, FetchError> {
///     # let _ = url;
///     Err(FetchError::NotFound) // tried once
/// }
/// ```
pub trait Retryable {
    /// Returns what to do about this error.
    fn retry(&self) -> Retry;
}

/// The decision of a [`Retryable`](crate::Retryable) error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Retry according to the function's policy.
    #[default]
    Default,
    /// Do not retry: another attempt cannot help.
    No,
    /// Retry after this time, at most 24 hours, instead of the policy's delay. The number of retries and the
    /// deadline still hold.
    After(Duration),
}
