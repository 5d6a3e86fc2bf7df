//! The errors of a call, and their circumstances.
//!
//! [`CallError`] is the error of every call. Its variants hold the types of this module, and a [`Context`].

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::context::Context;
use crate::api::excerpt::{LONGEST_LINE, beginning, line, or_no_text};
use crate::api::failure::{
    Cancelled, Crash, CrashLimitExceeded, Lost, Panic, REPORT, Rejected, Startup, TimedOut,
};

/// The error of a call.
///
/// `E` is the function's own error type where serde can carry it, so that a caller can match on it;
/// [`RemoteError`](crate::RemoteError) where serde cannot; `Infallible` for a function that does not return
/// a `Result`.
///
/// | variant | run again? |
/// |---|---|
/// | [`Function`](Self::Function) | by `retries`, if `retry_if` agrees |
/// | [`Panicked`](Self::Panicked) | by `retries`, in a worker in which nothing has panicked |
/// | [`Crashed`](Self::Crashed) | until the input was executing in three crashes, without using up `retries`; not with `at_most_once` |
/// | [`TimedOut`](Self::TimedOut) | by `retries` if an attempt exceeded its `timeout`; not at the `deadline` |
/// | [`Lost`](Self::Lost) | as after a crash if the worker broke the protocol; otherwise not |
/// | all others | no |
///
/// `Display` is one line of at most 200 characters, with an ellipsis in place of what does not fit; `{:#}`
/// adds the causes of the function's error, within the same limit. `Debug` is a report of several lines,
/// since `main` and `unwrap` print it: it has each text in full, and once.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, function};
///
/// #[function]
/// fn divide(a: u64, b: u64) -> Result<u64, String> {
///     if b == 1 { Err("that is too easy".to_owned()) } else { Ok(a / b) }
/// }
///
/// fn main() {
///     retry_runtime::init();
///     for (input, result) in divide.map([(6, 3), (6, 1), (6, 0)]).indexed() {
///         match result {
///             Ok(quotient) => assert_eq!((input, quotient), (0, 2)),
///             Err(CallError::Function(text, _)) => assert_eq!(text, "that is too easy"),
///             Err(CallError::Panicked(panic, _)) => {
///                 assert_eq!(panic.message(), "attempt to divide by zero");
///             }
///             Err(other) => panic!("{other:?}"),
///         }
///     }
/// }
/// ```
#[derive(Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The function returned `Err`, and ran to its end.
    Function(E, Context),
    /// The function panicked.
    Panicked(Panic, Context),
    /// The worker process died while it was executing the call.
    Crashed(Crash, Context),
    /// A time limit was reached.
    TimedOut(TimedOut, Context),
    /// No worker became ready; the call did not run.
    Startup(Startup, Context),
    /// The function's workers crash too often.
    CrashLimit(CrashLimitExceeded, Context),
    /// The call was cancelled.
    Cancelled(Cancelled, Context),
    /// The call was refused before it was run.
    Rejected(Rejected, Context),
    /// The call may have run, but its result is lost.
    Lost(Lost, Context),
}

impl<E> CallError<E> {
    /// Returns the circumstances: the function, the input, the attempts, and the end of the worker's
    /// standard error.
    #[must_use]
    pub fn context(&self) -> &Context {
        match self {
            Self::Function(_, context)
            | Self::Panicked(_, context)
            | Self::Crashed(_, context)
            | Self::TimedOut(_, context)
            | Self::Startup(_, context)
            | Self::CrashLimit(_, context)
            | Self::Cancelled(_, context)
            | Self::Rejected(_, context)
            | Self::Lost(_, context) => context,
        }
    }

    /// Returns whether it is certain that the function's body was never entered for this call.
    ///
    /// Repeating such a call cannot repeat an effect.
    #[must_use]
    pub fn did_not_run(&self) -> bool {
        match self {
            Self::Rejected(..) => true,
            Self::Startup(_, context)
            | Self::CrashLimit(_, context)
            | Self::Cancelled(_, context)
            | Self::TimedOut(_, context) => context.attempts().is_empty(),
            Self::Function(..) | Self::Panicked(..) | Self::Crashed(..) | Self::Lost(..) => false,
        }
    }

    /// Returns the outcome of the call and its cause: the function's own error as `show` shows it, all other
    /// texts in full.
    fn told(&self, show: impl FnOnce(&E) -> String) -> (String, String) {
        let context = self.context();
        let after = context.after_attempts();
        let (what, why) = match self {
            Self::Function(error, _) => (format!("failed{after}"), show(error)),
            Self::Panicked(panic, _) => (format!("panicked{after}"), panic.told().to_owned()),
            Self::Crashed(crash, _) => (format!("crashed{after}"), crash.told()),
            Self::TimedOut(timed_out, _) => (format!("timed out{after}"), timed_out.to_string()),
            Self::Startup(startup, _) => ("could not start".to_owned(), startup.told()),
            Self::CrashLimit(exceeded, _) => (format!("was given up{after}"), exceeded.to_string()),
            Self::Cancelled(cancelled, _) => ("was cancelled".to_owned(), cancelled.to_string()),
            Self::Rejected(rejected, _) => ("was rejected".to_owned(), rejected.told()),
            Self::Lost(lost, _) => (format!("lost its result{after}"), lost.told()),
        };
        let what = format!("{} {what}", context.subject());
        (what, or_no_text(&why).to_owned())
    }

    /// Returns the last line of standard error, where it may be the only hint of what happened.
    fn last_words(&self) -> Option<&str> {
        let may_tell = matches!(self, Self::Crashed(..) | Self::Startup(..));
        let last = self.context().stderr_tail().lines().next_back();
        last.filter(|_| may_tell)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STDERR: &str = "; stderr ends: ";
        /// The room that the last part of the line has in any case, if it needs it.
        const LAST: usize = LONGEST_LINE / 2;
        let alternate = f.alternate();
        let (what, why) = self.told(|error| match alternate {
            true => format!("{error:#}"),
            false => format!("{error}"),
        });
        // If the cause is the report of another call, its first line is enough.
        let why = match why.contains(REPORT) {
            true => why.lines().next().unwrap_or_default(),
            false => &why,
        };
        let last = match (self, self.last_words()) {
            (Self::Panicked(panic, _), _) => panic.place(),
            (_, Some(last)) => format!("{STDERR}{last:?}"),
            _ => String::new(),
        };
        let room = LONGEST_LINE - last.chars().count().min(LAST);
        let first = line(&format!("{what}: {why}"), room).into_owned();
        let left = LONGEST_LINE - first.chars().count();
        // The beginning of a line of standard error says most.
        let text = first + &beginning(&last, left);
        f.write_str(&line(&text, LONGEST_LINE))
    }
}

impl<E: fmt::Debug> fmt::Debug for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, why) = self.told(|error| format!("{error:?}"));
        let (first, others) = why.split_once('\n').unwrap_or((&why, ""));
        let is_report = others.contains(REPORT);
        let panic = match self {
            Self::Panicked(panic, _) => Some(panic),
            _ => None,
        };
        let place = panic.map(Panic::place).unwrap_or_default();
        if is_report {
            // The first line names each call in between; these have lines of their own below.
            f.write_str(&line(&format!("{what}: {first}"), LONGEST_LINE))?;
        } else {
            f.write_str(format!("{what}: {first}{place}").trim_end())?;
            write_indented(f, others, "    ")?;
        }
        if let Some(backtrace) = panic.and_then(Panic::backtrace) {
            write!(f, "\n{}", backtrace.trim_end())?;
        }
        let is_told = matches!(self, Self::Function(..) | Self::Panicked(..));
        self.context().write_report(f, panic, is_told)?;
        if is_report && let Some(location) = panic.and_then(Panic::location) {
            write!(f, "\n    panicked  at {location}")?;
        }
        if is_report {
            f.write_str("\n    because of")?;
            write_indented(f, others, "  ")?;
        }
        Ok(())
    }
}

/// Writes lines below others.
fn write_indented(f: &mut fmt::Formatter<'_>, lines: &str, by: &str) -> fmt::Result {
    for line in lines.trim_end().lines() {
        let by = if line.is_empty() { "" } else { by };
        write!(f, "\n{by}{line}")?;
    }
    Ok(())
}

impl<E: Error + 'static> Error for CallError<E> {
    /// Returns the source of the function's own error, which is itself part of the line that `Display`
    /// prints.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Function(error, _) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_error_is_small_enough_to_be_returned_by_value() {
        assert!(size_of::<CallError<()>>() <= 64);
    }
}
