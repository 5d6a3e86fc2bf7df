//! Processes: started, supervised and reaped. Knows nothing of policy.

mod attend;
mod attributes;
mod cgroup;
pub(crate) mod children;
mod executable;
pub(crate) mod memory;
mod output;
mod peer;
mod process;
mod reactor;
mod spare;
mod spawner;
mod streams;
mod surroundings;
mod sweep;

pub(crate) use attend::{Sleeper, attend, rest};
pub(crate) use attributes::parallelism;
pub(crate) use cgroup::Cgroup;
pub(crate) use peer::{Inlet, Reading};
pub(crate) use reactor::{Inbox, NESTED, Writable, start};
pub(crate) use spare::Spare;
pub(crate) use spawner::{Request, hire, request_worker};
pub(crate) use sweep::Family;
