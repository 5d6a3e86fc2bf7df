//! The protocol between a parent and a worker, and its transports.
//!
//! Frames travel in one [stream](stream) per direction: through a [ring](ring) in shared memory, or through
//! the [socket](socket) between the two processes where there are no rings. The worker claims each ticket on
//! a [`ControlBlock`] before it runs it. The control block and the streams outlive the worker, so after its
//! death the parent can still read what the worker had claimed and answered. The socket also carries what
//! memory cannot: the first orders with their descriptors, a byte that wakes the side sleeping at its ring
//! (the [bell](bell)), and the end of the connection when the other side is gone.

pub(crate) mod bell;
pub(crate) mod control_block;
pub(crate) mod frame;
pub(crate) mod frame_reader;
pub(crate) mod handshake;
pub(crate) mod launch;
pub(crate) mod nested;
pub(crate) mod ring;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod write_queue;

pub(crate) use control_block::{ControlBlock, KEPT};

/// The transport of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Rings in shared memory.
    #[default]
    Rings,
    /// The socket.
    Socket,
}

/// The environment variable that holds the pid of a worker's parent.
pub(crate) const WORKER_VARIABLE: &str = "RETRY_WORKER";

/// The environment variable that holds the key that identifies a worker.
pub(crate) const KEY_VARIABLE: &str = "RETRY_WORKER_KEY";

/// The environment variable that holds the nesting depth of a worker's calls.
pub(crate) const DEPTH_VARIABLE: &str = "RETRY_DEPTH";

/// The first bytes of the first message. A process that sends anything else is not a parent.
pub(crate) const MAGIC: [u8; 8] = *b"retry/01";
