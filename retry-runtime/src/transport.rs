//! What parent and worker say to each other, and how it gets there.
//!
//! Frames travel over a Unix socket pair. Next to it lies a [`Board`]: a page of memory that both
//! see, on which the worker claims tickets before it runs them and keeps answers that are not
//! sent yet, so that the parent finds both there after the worker's death.

pub(crate) mod board;
pub(crate) mod frame;
pub(crate) mod link;
pub(crate) mod outgoing;

pub(crate) use board::Board;
pub(crate) use link::{Link, SocketLink, kill_group};

/// The environment variable by which a process knows that it is a worker: its parent's pid.
pub(crate) const WORKER_VARIABLE: &str = "RETRY_WORKER";

/// The environment variable that tells a worker how deeply its calls are nested.
pub(crate) const DEPTH_VARIABLE: &str = "RETRY_DEPTH";

/// The first bytes of the first message: who does not say them is not a parent.
pub(crate) const MAGIC: [u8; 8] = *b"retry/01";
