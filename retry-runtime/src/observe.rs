//! Observes a run: tells about it while it goes on, and writes what remains of it.

mod attempts;
mod failures;
pub(crate) mod feed;
pub(crate) mod files;
pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod offline;
#[cfg(feature = "report")]
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod summary;
pub(crate) mod trace;
pub(crate) mod writer;
