//! What remains of a run: the event log.

pub(crate) mod line;
pub(crate) mod log;
pub(crate) mod writer;
