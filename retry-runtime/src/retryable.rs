//! Errors that know themselves whether trying again can help.

use crate::worker::Retry;

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

/// A result whose error is asked, if it can be: generated code calls `ask` on a reference to
/// this with both traits in scope, and method lookup prefers the first.
pub struct Probe<'a, R>(pub &'a R);

/// The error says it itself.
pub trait Says {
    /// What the error says.
    fn ask(&self) -> Retry;
}

impl<T, E: Retryable> Says for Probe<'_, Result<T, E>> {
    fn ask(&self) -> Retry {
        self.0.as_ref().map_or_else(E::retry, |_| Retry::Default)
    }
}

/// Nobody says anything.
pub trait Silent {
    /// The default.
    fn ask(&self) -> Retry;
}

impl<R> Silent for &Probe<'_, R> {
    fn ask(&self) -> Retry {
        Retry::Default
    }
}
