//! Calls that a running function makes.
//!
//! A worker has no pool of its own. What its functions call goes up to the parent over a second
//! connection, is scheduled there with everything else, and comes back the same way. A worker
//! that waits for such a call does not count as one of its function's workers, so that nested
//! calls cannot wait for each other, and the deepest calls go first, so that the processes stay
//! few.

mod downstream;
mod upstream;
mod wire;

pub(crate) use downstream::{Downstream, Requests};
pub(crate) use upstream::Upstream;
