//! Attributes that the kernel keeps per thread and that a child inherits from the thread that starts it:
//! affinity, nice value, scheduling policy and I/O priority.
//!
//! The runtime's threads are started by whichever thread makes the first call. These threads, and the
//! workers, get the attributes of the main thread, because those are what `taskset` and `nice` give to a
//! program and what tools show for it.

use std::thread;

use rustix::process::{Pid, getpid, getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::sys::{self, Scheduling};

/// The attributes of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    affinity: Option<CpuSet>,
    nice: Option<i32>,
    scheduling: Option<Scheduling>,
    io_priority: Option<i32>,
}

impl Attributes {
    /// Returns the attributes of the main thread. The kernel keeps them even after that thread has ended.
    pub(crate) fn of_process() -> Self {
        Self::of(getpid())
    }

    fn of(thread: Pid) -> Self {
        Self {
            affinity: sched_getaffinity(Some(thread)).ok(),
            nice: getpriority_process(Some(thread)).ok(),
            scheduling: Scheduling::of(thread),
            io_priority: sys::io_priority(thread),
        }
    }
}

/// Gives the current thread the attributes of the main thread, as far as that is permitted: a lower nice
/// value or a real-time policy needs a privilege.
pub(crate) fn adopt() {
    let (process, own) = (
        Attributes::of_process(),
        Attributes::of(rustix::thread::gettid()),
    );
    if process == own {
        return;
    }
    if let Some(affinity) = process
        .affinity
        .filter(|_| process.affinity != own.affinity)
    {
        let _ = sched_setaffinity(None, &affinity);
    }
    if let Some(scheduling) = process
        .scheduling
        .filter(|_| process.scheduling != own.scheduling)
    {
        scheduling.apply();
    }
    if let Some(nice) = process.nice.filter(|_| process.nice != own.nice) {
        let _ = setpriority_process(None, nice);
    }
    if let Some(priority) = process
        .io_priority
        .filter(|_| process.io_priority != own.io_priority)
    {
        sys::set_io_priority(priority);
    }
}

/// Returns the number of threads that this process can run at once, whatever the current thread is restricted
/// to.
pub(crate) fn parallelism() -> usize {
    let count = || thread::available_parallelism().map_or(1, usize::from);
    let affinity = |thread| sched_getaffinity(thread).ok();
    if affinity(None) == affinity(Some(getpid())) {
        return count();
    }
    // The standard library counts the CPUs of the current thread, capped by the process's CPU quota.
    let counted = thread::Builder::new().spawn(move || {
        adopt();
        count()
    });
    let counted = counted.ok().and_then(|thread| thread.join().ok());
    counted.unwrap_or_else(count)
}
