//! The protocol between a parent and a worker, and its transports.
//!
//! Frames travel in one [stream](stream) per direction: through a [ring](ring) in shared memory, or through
//! the [socket](socket) between the two processes where there are no rings. The worker claims each ticket on
//! a [`ControlBlock`] before it runs it. The control block and the streams outlive the worker, so after its
//! death the parent can still read what the worker had claimed and answered. The socket also carries what
//! memory cannot: the first orders with their descriptors, a byte that wakes the side sleeping at its ring
//! (the [bell](bell)), and the end of the connection when the other side is gone.

#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod arrived;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod bell;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod control_block;
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
mod elsewhere;
pub(crate) mod frame;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod frame_reader;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod handshake;
pub(crate) mod launch;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod lease;
pub(crate) mod message;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod nested;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod ring;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod socket;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod stream;
pub(crate) mod task;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) mod write_queue;

#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) use control_block::{ControlBlock, PROCESS_WENT_ON};
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
pub(crate) use elsewhere::{ControlBlock, Lease};
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
pub(crate) use lease::Lease;

/// The transport of calls and answers between the program and its workers, as
/// [`Builder::transport`](crate::runtime::Builder::transport) takes it.
///
/// ```
/// use retry_runtime::{Runtime, runtime::Transport};
///
/// let comparable = Runtime::builder().transport(Transport::Socket);
/// # drop(comparable);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// Rings in memory that both sides share.
    #[default]
    Rings,
    /// A socket: slower, and the reference for the rings.
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

/// The other side has written an impossible number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("impossible numbers in the memory that it shares with its parent")
    }
}

/// The part of an attempt's time, in nanoseconds, that may go into reporting failures without being counted.
/// It is limited because the worker itself states the time, and because a panic hook may hang.
pub(crate) const LONGEST_PAUSE: u64 = 10_000_000_000;

/// The maximum number of inputs that a worker executes at once.
pub(crate) const SLOTS: usize = 1024;

/// The maximum length, in bytes, of the message that a panicking worker leaves in case the panic ends it.
pub(crate) const LAST_WORDS_CAPACITY: usize = 3968;
