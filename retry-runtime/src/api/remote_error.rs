//! The error of a function whose own error type cannot leave its process.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::backtrace;
use crate::api::excerpt::{excerpt, in_a_line, shares};
use crate::codec;

/// The text of an error that serde cannot carry, such as `anyhow::Error`, `eyre::Report`,
/// `Box<dyn Error + Send + Sync>` or `std::io::Error`.
///
/// `Display` is the error's own message in one line of at most 200 characters, and `{:#}` that line with
/// the messages of its causes. [`source`](Error::source) walks the causes, [`chain`](Self::chain) yields
/// all messages in full, and `Debug` is the text of the error's own `Debug`. Texts that are together above
/// the limit on messages (`RETRY_MAX_MESSAGE`) are shortened, with a note that says how much is missing.
///
/// ```standalone_crate
/// use retry_runtime::{CallError, RemoteError, function};
///
/// #[function]
/// fn read(path: &str) -> std::io::Result<String> {
///     std::fs::read_to_string(path)
/// }
///
/// fn main() {
///     retry_runtime::init();
///     let result: Result<String, CallError<RemoteError>> = read.remote("/nowhere").wait();
///     match result {
///         Err(CallError::Function(error, _)) => {
///             assert_eq!(error.to_string(), "No such file or directory (os error 2)");
///         }
///         other => panic!("{other:?}"),
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    message: Box<str>,
    source: Option<Box<RemoteError>>,
    debug: Box<str>,
}

impl RemoteError {
    /// Creates the error from one without known causes.
    pub(crate) fn shown(error: &(impl fmt::Display + fmt::Debug)) -> Self {
        Self {
            message: error.to_string().into(),
            source: None,
            debug: backtrace::shorten_at_end(format!("{error:?}")).into(),
        }
    }

    /// Creates the error from one with all its causes.
    pub(crate) fn chained(error: &(impl Error + ?Sized), debug: String) -> Self {
        let debug = backtrace::shorten_at_end(debug);
        // A chain may be endless where an error names itself as its cause.
        const LONGEST_CHAIN: usize = 64;
        let mut chain: Vec<&dyn Error> = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next
            && chain.len() < LONGEST_CHAIN
        {
            chain.push(cause);
            next = cause.source();
        }
        let mut source = None;
        for cause in chain.iter().rev() {
            source = Some(Box::new(Self {
                message: cause.to_string().into(),
                source,
                debug: format!("{cause:?}").into(),
            }));
        }
        Self {
            message: error.to_string().into(),
            source,
            debug: debug.into(),
        }
    }

    /// Shortens the texts so that the encoding has at most `limit` bytes.
    pub(crate) fn shorten(&mut self, limit: usize) {
        /// The encoding of an error with empty texts: two lengths, and whether there is a source.
        const EMPTY: usize = 17;
        let limit = limit.saturating_sub(codec::SHAPE);
        let lengths: Vec<usize> = self
            .levels()
            .flat_map(|error| [error.message.len(), error.debug.len()])
            .collect();
        let levels = lengths.len() / 2;
        if lengths.iter().sum::<usize>() + levels * EMPTY <= limit {
            return;
        }
        let kept = levels.min((limit / 2 / EMPTY).max(1));
        let room = limit.saturating_sub(kept * EMPTY);
        let mut shares = shares(&lengths[..2 * kept], room).into_iter();
        let mut next = Some(self);
        while let (Some(error), Some(message), Some(debug)) = (next, shares.next(), shares.next()) {
            error.message = excerpt(&error.message, message).into();
            error.debug = excerpt(&error.debug, debug).into();
            // The deepest causes are dropped if there is not even room for their lengths.
            error.source.take_if(|_| shares.len() == 0);
            next = error.source.as_deref_mut();
        }
    }

    /// Returns the error and all its causes, outermost first.
    fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |error| error.source.as_deref())
    }

    /// Returns the messages of the error and of its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        self.levels().map(|error| &*error.message)
    }
}

impl fmt::Display for RemoteError {
    /// Writes the message, or with `{:#}` the whole chain, in one line of at most 200 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return in_a_line(&self.message, f);
        }
        let chain: Vec<&str> = self.chain().collect();
        in_a_line(chain.join(": "), f)
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.debug)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn size(error: &RemoteError) -> usize {
        let mut bytes = Vec::new();
        codec::encode(error, &mut bytes, usize::MAX).unwrap();
        bytes.len()
    }

    #[test]
    fn an_error_is_shortened_to_any_limit() {
        let mut error = RemoteError {
            message: "€".repeat(2000).into(),
            source: None,
            debug: "d".repeat(100).into(),
        };
        for level in 0..5 {
            let whole = size(&error);
            for limit in (64..whole).step_by(11) {
                let mut short = error.clone();
                short.shorten(limit);
                assert!(size(&short) <= limit, "{} > {limit}", size(&short));
            }
            let mut same = error.clone();
            same.shorten(whole);
            assert_eq!(same, error);
            error = RemoteError {
                message: format!("level {level}").into(),
                source: Some(Box::new(error)),
                debug: "x".repeat(3000).into(),
            };
        }
    }
}
