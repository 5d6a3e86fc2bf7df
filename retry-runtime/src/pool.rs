//! Processes: started, supervised and reaped. Knows nothing of policy.

mod attend;
mod cgroup;
pub(crate) mod children;
pub(crate) mod memory;
mod output;
mod peer;
mod reactor;
mod spawner;
mod streams;

pub(crate) use attend::{Sleeper, attend, rest};
pub(crate) use cgroup::Cgroup;
pub(crate) use peer::{Inlet, Reading};
pub(crate) use reactor::{Inbox, NESTED, Writable, start};
pub(crate) use spawner::{Request, request_worker};
