//! What parent and worker say to each other, and how it gets there.
//!
//! Frames travel in a [stream](stream) for each direction: through a [ring](ring) in memory, or
//! through the [socket](socket) between the two where there is none. On a [`ControlBlock`], which both
//! see, the worker claims tickets before it runs them. What a worker has claimed and answered is
//! thus found after its death. The socket also carries what memory cannot: the first orders with
//! the descriptors, a byte to wake the side that sleeps at its ring (the [bell](bell)), and the
//! news that the other side is gone.

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

/// Which way frames take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Through rings in memory that both sides see.
    #[default]
    Rings,
    /// Through the socket.
    Socket,
}

/// The environment variable that holds the pid of a worker's parent.
pub(crate) const WORKER_VARIABLE: &str = "RETRY_WORKER";

/// The environment variable that tells one worker from another.
pub(crate) const KEY_VARIABLE: &str = "RETRY_WORKER_KEY";

/// The environment variable that tells a worker how deeply its calls are nested.
pub(crate) const DEPTH_VARIABLE: &str = "RETRY_DEPTH";

/// The first bytes of the first message: who does not say them is not a parent.
pub(crate) const MAGIC: [u8; 8] = *b"retry/01";
