//! Asks an error whether a retry can help, and for its text, on behalf of generated code.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::invocation::Invocation;
use crate::api::excerpt::one_line;
use crate::api::retryable::{Retry, Retryable};

/// A result whose error can be asked. Generated code calls `__ask` on a reference to this with both traits in
/// scope, and method lookup prefers [`Says`].
pub struct Probe<'a, R>(pub &'a R);

/// Keeps the text of an error for the call's history. Formatting runs user code; if it panics, there is no
/// text.
#[cold]
fn keep_text(of: &mut Invocation, format: impl FnOnce() -> String) {
    if let Ok(text) = catch_unwind(AssertUnwindSafe(format)) {
        of.describe(&one_line(&text));
    }
}

/// An error with a text for people. Generated code calls `__describe` on a reference to a reference to a
/// [`Probe`] with all three traits in scope, and method lookup prefers this one.
pub trait Displayed {
    /// Keeps the text, if the result is an error.
    fn __describe(&self, of: &mut Invocation);
}

impl<T, E: fmt::Display> Displayed for &Probe<'_, Result<T, E>> {
    #[inline]
    fn __describe(&self, of: &mut Invocation) {
        if let Err(error) = self.0 {
            keep_text(of, || format!("{error:#}"));
        }
    }
}

/// An error that only has a text for programmers.
pub trait Debugged {
    /// Keeps the text, if the result is an error.
    fn __describe(&self, of: &mut Invocation);
}

impl<T, E: fmt::Debug> Debugged for &&Probe<'_, Result<T, E>> {
    #[inline]
    fn __describe(&self, of: &mut Invocation) {
        if let Err(error) = self.0 {
            keep_text(of, || format!("{error:?}"));
        }
    }
}

/// Any other result.
pub trait Mute {
    /// Keeps nothing.
    fn __describe(&self, of: &mut Invocation);
}

impl<R> Mute for Probe<'_, R> {
    #[inline]
    fn __describe(&self, _: &mut Invocation) {}
}

/// An error that decides about its own retry.
pub trait Says {
    /// Returns the error's decision.
    fn __ask(&self) -> Retry;
}

impl<T, E: Retryable> Says for Probe<'_, Result<T, E>> {
    fn __ask(&self) -> Retry {
        self.0.as_ref().map_or_else(E::retry, |_| Retry::Default)
    }
}

/// A result without such an error.
pub trait Silent {
    /// Returns the default.
    fn __ask(&self) -> Retry;
}

impl<R> Silent for &Probe<'_, R> {
    fn __ask(&self) -> Retry {
        Retry::Default
    }
}
