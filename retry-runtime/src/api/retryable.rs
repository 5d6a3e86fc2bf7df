//! Errors that know themselves whether trying again can help.

use std::time::Duration;

/// An error that says itself whether it is worth a retry.
///
/// It is picked up by type: nothing is to be named in the attribute. A `retry_if` of the function
/// goes first. It is asked in the worker, before the error is sent.
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
    /// What to do about this error.
    fn retry(&self) -> Retry;
}

/// What an error says about being retried.
///
/// See [`Retryable`](crate::Retryable).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// As the function's policy says.
    #[default]
    Default,
    /// Never: trying again cannot help.
    No,
    /// Not before this time has passed. It takes the place of the policy's delay; the number of
    /// retries and the deadline still hold.
    After(Duration),
}
