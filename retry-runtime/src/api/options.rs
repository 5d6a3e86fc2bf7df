//! Overrides at the place of the call.

use std::time::Duration;

use crate::api::retries::Retries;
use crate::api::spec::FunctionSpec;

/// An option as a call site may give it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Override<T> {
    /// The attribute's value applies.
    #[default]
    Inherit,
    Set(T),
    Unset,
}

impl<T: Copy> Override<T> {
    fn resolve(self, inherited: Option<T>) -> Option<T> {
        match self {
            Self::Inherit => inherited,
            Self::Set(value) => Some(value),
            Self::Unset => None,
        }
    }

    fn or(self, earlier: Self) -> Self {
        match self {
            Self::Inherit => earlier,
            given => given,
        }
    }
}

/// Overrides of a function's options for some of its calls, for a stub's `with_options`.
///
/// An option that is not mentioned keeps the value of the attribute. Overrides can also unset an option.
///
/// ```
/// # use retry_runtime::{function, Options};
/// # use std::time::Duration;
/// #[function(retries = 3, timeout = "10s")]
/// fn fetch(url: &str) -> String {
///     url.to_owned()
/// }
///
/// let patient = fetch.with_options(Options::new().retries(10).no_timeout());
/// # let _call = patient.remote("https://example.org");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    retries: Override<Retries>,
    timeout: Override<Duration>,
    deadline: Override<Duration>,
    grace: Override<Duration>,
    after: Duration,
}

/// The longest delay before a call: a hundred years.
const LONGEST_START: Duration = Duration::from_hours(100 * 365 * 24);

impl Options {
    /// Returns options that override nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            retries: Override::Inherit,
            timeout: Override::Inherit,
            deadline: Override::Inherit,
            grace: Override::Inherit,
            after: Duration::ZERO,
        }
    }

    /// Overrides the retry policy; a number means that many retries, one second apart.
    ///
    /// # Panics
    ///
    /// Panics if the policy's initial delay is longer than its cap.
    #[must_use]
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.retries = Override::Set(retries.into().checked());
        self
    }

    /// Unsets the retry policy: no retries.
    #[must_use]
    pub fn no_retries(mut self) -> Self {
        self.retries = Override::Unset;
        self
    }

    /// Overrides the limit on the execution of one attempt.
    ///
    /// # Panics
    ///
    /// Panics if `timeout` is zero.
    #[must_use]
    #[track_caller]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        assert!(
            !timeout.is_zero(),
            "`timeout` must be longer than zero; leave it out for no limit"
        );
        self.timeout = Override::Set(timeout);
        self
    }

    /// Unsets the limit on the execution of one attempt.
    #[must_use]
    pub fn no_timeout(mut self) -> Self {
        self.timeout = Override::Unset;
        self
    }

    /// Overrides the limit on queue, attempts and delays together. In a map it counts for each input, from the start of
    /// its first attempt.
    ///
    /// # Panics
    ///
    /// Panics if `deadline` is zero.
    #[must_use]
    #[track_caller]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        assert!(
            !deadline.is_zero(),
            "`deadline` must be longer than zero; leave it out for no limit"
        );
        self.deadline = Override::Set(deadline);
        self
    }

    /// Unsets the limit on queue, attempts and delays together.
    #[must_use]
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Override::Unset;
        self
    }

    /// Overrides the time that a cancelled or timed-out attempt has to end by itself before its worker is
    /// killed.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Override::Set(grace);
        self
    }

    /// Unsets the grace: the worker of a cancelled or timed-out attempt is killed at once.
    #[must_use]
    pub fn no_grace(mut self) -> Self {
        self.grace = Override::Unset;
        self
    }

    /// Delays the start of the call.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.after = delay.min(LONGEST_START);
        self
    }

    /// Returns these overrides on top of `earlier` ones.
    pub(crate) fn over(self, earlier: Self) -> Self {
        Self {
            retries: self.retries.or(earlier.retries),
            timeout: self.timeout.or(earlier.timeout),
            deadline: self.deadline.or(earlier.deadline),
            grace: self.grace.or(earlier.grace),
            after: self.after.max(earlier.after),
        }
    }

    pub(crate) fn policy(&self, spec: &FunctionSpec) -> Policy {
        Policy {
            retries: self
                .retries
                .resolve(Some(spec.retries))
                .unwrap_or(Retries::none()),
            timeout: self.timeout.resolve(spec.timeout),
            deadline: self.deadline.resolve(spec.deadline),
            at_most_once: spec.at_most_once,
            grace: match self.grace {
                Override::Inherit => None,
                Override::Set(grace) => Some(grace),
                Override::Unset => Some(Duration::ZERO),
            },
            after: self.after,
        }
    }
}

/// The options that apply to one call: those of the attribute, overridden by those of the call site.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Policy {
    pub(crate) retries: Retries,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) at_most_once: bool,
    /// Overrides the grace of the workers, which a service's methods share.
    pub(crate) grace: Option<Duration>,
    /// The delay before the first attempt. The deadline begins after it.
    pub(crate) after: Duration,
}
