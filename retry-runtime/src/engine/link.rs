//! The sending side of a worker, whatever the worker is.

use std::sync::Arc;

use bytes::Bytes;

use crate::scheduler::{Executing, ExitReport, Progress};
use crate::sys;
use crate::wait::AnswerSource;
use crate::wire::frame::CallHeader;
use crate::wire::ring::Corrupt;

/// What can be done to a worker. This is the seam between what is decided and how it gets there:
/// nothing above it knows whether a worker is a process, and nothing below it decides anything.
pub(crate) trait Link: Send {
    /// Queues a call, or an order about one, and says whether it has to be flushed.
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool;

    /// Sends what is queued; what does not fit goes on by itself. Whether anything was sent. An
    /// error is a breach of the protocol by the worker.
    fn flush(&mut self) -> Result<bool, Corrupt>;

    /// Where answers can be looked for by who waits for them.
    fn source(&self) -> Option<Arc<dyn AnswerSource>> {
        None
    }

    /// Takes back every ticket up to `last` that is not claimed. Returns the last one that was
    /// claimed or taken back before; `None` if the worker claims what cannot be.
    fn recall(&mut self, last: u64) -> Option<u64>;

    /// Asks the function that executes a ticket to stop, where it can be seen without reading
    /// a message.
    fn ask(&self, ticket: u64);

    /// Returns what the worker shows of its work.
    fn progress(&self) -> Progress;

    /// How many bytes of memory the worker takes with all that it started.
    fn memory(&self) -> u64;

    /// Asks the worker and all that it started to end.
    fn terminate(&self);

    /// Ends the worker and all that it started. What is left of it comes later, unless it is
    /// there at once.
    fn kill(&mut self) -> Option<ExitReport>;

    /// Tells a worker that has nothing to do that nothing will come any more.
    fn retire(&mut self);
}

/// A ticket, and since when it is being executed in nanoseconds on the monotonic clock, as the worker
/// says it.
pub(crate) fn executing((ticket, since): (u64, u64)) -> Executing {
    let since = sys::past_instant_of(since);
    Executing { ticket, since }
}
