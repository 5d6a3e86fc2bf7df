//! What parent and worker say to each other, and how it gets there.
//!
//! Frames travel through a [ring](ring) in memory for each direction. Next to the rings lies a
//! [`Board`], on which the worker claims tickets before it runs them. What a worker has claimed
//! and answered is thus found there after its death. A socket between the two carries what the
//! memory cannot: the first orders with the descriptors, a byte to wake the side that sleeps (the
//! [bell](bell)), and the news that the other side is gone.

pub(crate) mod bell;
pub(crate) mod board;
pub(crate) mod frame;
pub(crate) mod intake;
pub(crate) mod link;
pub(crate) mod outgoing;
pub(crate) mod ring;

pub(crate) use board::Board;
pub(crate) use link::{Link, RingLink, kill_group};

/// The environment variable by which a process knows that it is a worker: its parent's pid.
pub(crate) const WORKER_VARIABLE: &str = "RETRY_WORKER";

/// The environment variable that tells a worker how deeply its calls are nested.
pub(crate) const DEPTH_VARIABLE: &str = "RETRY_DEPTH";

/// The first bytes of the first message: who does not say them is not a parent.
pub(crate) const MAGIC: [u8; 8] = *b"retry/01";
