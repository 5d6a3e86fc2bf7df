//! The sending side of a worker, whatever the worker is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::call_id::CallNumber;
use crate::scheduler::{Executing, ExitReport, Progress};
use crate::sys;
use crate::wait::AnswerSource;
use crate::wire::Corrupt;
use crate::wire::frame::CallHeader;

/// The operations on a worker. This is the seam between decisions and transport: nothing above it
/// knows whether a worker is a process, and nothing below it decides anything.
pub(crate) trait Link: Send {
    /// Queues a call, or an order about one. Returns whether the link has to be flushed.
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool;

    /// Sends queued messages. Those that do not fit are sent later without another call. Returns
    /// whether anything was sent. An error is a breach of the protocol by the worker.
    fn flush(&mut self) -> Result<bool, Corrupt>;

    /// Returns the source at which a waiting thread can poll for answers, if there is one.
    fn source(&self) -> Option<Arc<dyn AnswerSource>> {
        None
    }

    /// Returns what the worker has printed, as far as it is kept.
    fn output(&self) -> Option<Arc<dyn Printed>> {
        None
    }

    /// Recalls every ticket up to `last` that is not claimed. Returns the last one that was claimed
    /// or recalled before; `None` if the worker has claimed a ticket that was never sent.
    fn recall(&mut self, last: u64) -> Option<u64>;

    /// Asks the function that executes a ticket to stop, in memory that it can see without reading
    /// a message.
    fn ask(&self, ticket: u64);

    /// Returns what the worker publishes about its work.
    fn progress(&self) -> Progress;

    /// Returns the memory of the worker and everything that it started, in bytes.
    fn memory(&self) -> u64;

    /// Asks the worker and everything that it started to exit.
    fn terminate(&self);

    /// Kills the worker and everything that it started. Returns the report on its end if that is
    /// available at once; otherwise the report comes later.
    fn kill(&mut self) -> Option<ExitReport>;

    /// Tells an idle worker that nothing more will come.
    fn retire(&mut self);

    /// Suspends the worker and everything that it started, unless that has been done from outside.
    fn suspend(&mut self) {}

    /// Tells the worker for how long the program has been suspended in total: none of its times includes
    /// that. Called when the worker is added, and before it is [resumed](Self::resume).
    fn set_suspended(&mut self, total: Duration);

    /// Lets a worker that was [suspended](Self::suspend) continue.
    fn resume(&mut self) {}
}

/// The output of a worker. It is read without the engine's lock, since a thread that passes output on takes that
/// lock.
pub(crate) trait Printed: Send + Sync {
    /// Returns the last line of standard error and the call that has printed it, if that is certain.
    fn last_line(&self) -> Option<(CallNumber, String)>;
}

/// Converts a ticket and the start of its execution, in nanoseconds of the running time as the worker
/// reports it.
pub(crate) fn executing((ticket, since): (u64, u64)) -> Executing {
    let since = sys::past_instant_of(since);
    Executing { ticket, since }
}
