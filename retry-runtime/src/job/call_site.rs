//! The line of the program that makes a call.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

/// The line of the program that makes a call, for reports of its failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallSite {
    /// A line that this process has run.
    Here(&'static Location<'static>),
    /// A line that a worker has run, which is therefore only known as text.
    InWorker(Arc<str>),
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(line) => line.fmt(f),
            Self::InWorker(line) => line.fmt(f),
        }
    }
}
