//! How generated code asks an error whether a retry can help, and what its text is.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::invocation::Invocation;
use crate::api::excerpt::one_line;
use crate::api::retryable::{Retry, Retryable};

/// A result whose error is asked, if it can be: generated code calls `ask` on a reference to
/// this with both traits in scope, and method lookup prefers the first.
pub struct Probe<'a, R>(pub &'a R);

/// Keeps the text of an error for the call's history. Its own code may panic: then there is none.
#[cold]
fn keep_text(of: &mut Invocation, format: impl FnOnce() -> String) {
    if let Ok(text) = catch_unwind(AssertUnwindSafe(format)) {
        of.describe(&one_line(&text));
    }
}

/// An error that has a text for people. Generated code calls `describe` on a reference to a reference
/// to a [`Probe`] with all three traits in scope, and method lookup prefers this one.
pub trait Displayed {
    /// Keeps the text, if the result is an error.
    fn describe(&self, of: &mut Invocation);
}

impl<T, E: fmt::Display> Displayed for &Probe<'_, Result<T, E>> {
    #[inline]
    fn describe(&self, of: &mut Invocation) {
        if let Err(error) = self.0 {
            keep_text(of, || format!("{error:#}"));
        }
    }
}

/// An error that has a text for programmers alone.
pub trait Debugged {
    /// Keeps the text, if the result is an error.
    fn describe(&self, of: &mut Invocation);
}

impl<T, E: fmt::Debug> Debugged for &&Probe<'_, Result<T, E>> {
    #[inline]
    fn describe(&self, of: &mut Invocation) {
        if let Err(error) = self.0 {
            keep_text(of, || format!("{error:?}"));
        }
    }
}

/// Anything else.
pub trait Mute {
    /// Keeps nothing.
    fn describe(&self, of: &mut Invocation);
}

impl<R> Mute for Probe<'_, R> {
    #[inline]
    fn describe(&self, _: &mut Invocation) {}
}

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
