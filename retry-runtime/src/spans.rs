//! Spans and events of the crate `tracing`: those of calls and attempts, and those that workers record
//! (feature `tracing`).
//!
//! A worker has a [subscriber](forwarder) of its own, which sends what it records to the parent, over the
//! connection for nested calls: any thread may write there, and the parent takes in what was written before
//! an answer ahead of that answer. In the parent, a [thread](tracer) gives everything to the program's
//! subscriber, in one order: the spans of calls and attempts, which follow from the runtime's events, and the
//! records of workers, as descendants of the attempt that made them. It is a thread of its own because a
//! subscriber may block: on standard output, for example, while the thread that waits for results has locked
//! it. Threads that deliver results wait for it, but only as long as it goes on.

mod callsites;
mod context;
pub(crate) mod forwarder;
mod live;
mod messages;
pub(crate) mod time;
mod tracer;

pub(crate) use context::Context;
pub(crate) use messages::Batch;
pub(crate) use tracer::{Origin, Tracer};

/// The target of the spans and events of the runtime itself.
const TARGET: &str = "retry_runtime";
