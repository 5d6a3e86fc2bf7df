//! The error of a function whose own error type cannot leave its process.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What arrives of an error that serde cannot carry, such as `anyhow::Error`, `eyre::Report`,
/// `Box<dyn Error + Send + Sync>` or `std::io::Error`.
///
/// `Display` is the error's own message, [`source`](Error::source) walks the messages of what
/// caused it, and `Debug` is the text of its own `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    message: Box<str>,
    source: Option<Box<RemoteError>>,
    debug: Box<str>,
}

impl RemoteError {
    /// From an error without known causes.
    pub(crate) fn shown(error: &(impl fmt::Display + fmt::Debug)) -> Self {
        Self {
            message: error.to_string().into(),
            source: None,
            debug: format!("{error:?}").into(),
        }
    }

    /// From an error and all that caused it.
    pub(crate) fn chained(error: &(impl Error + ?Sized), debug: String) -> Self {
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

    /// The messages of the error and of all that caused it, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |error| error.source.as_deref())
            .map(|error| &*error.message)
    }
}

impl fmt::Display for RemoteError {
    /// The message; with `{:#}` the whole chain on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            for cause in self.chain().skip(1) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
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
