//! Attributes that the kernel keeps per thread and that a child inherits from the thread that starts it:
//! affinity, nice value, scheduling policy and I/O priority.
//!
//! The runtime's threads are started by whichever thread makes the first call. These threads, and the
//! workers, get the attributes of the main thread, because those are what `taskset` and `nice` give to a
//! program and what tools show for it.

use std::ffi::c_int;
use std::thread;

use rustix::process::{Pid, getpid, getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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
            io_priority: io_priority(thread),
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
        set_io_priority(priority);
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

/// The scheduling policy of a thread and its priority within that policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scheduling {
    policy: c_int,
    priority: c_int,
}

impl Scheduling {
    fn of(thread: Pid) -> Option<Self> {
        let mut parameters = libc::sched_param { sched_priority: 0 };
        let thread = thread.as_raw_nonzero().get();
        // SAFETY: this reads and takes numbers only.
        let policy = unsafe { libc::sched_getscheduler(thread) };
        // SAFETY: the pointer is to room for what is written.
        let found = unsafe { libc::sched_getparam(thread, &raw mut parameters) };
        (policy >= 0 && found == 0).then_some(Self {
            policy,
            priority: parameters.sched_priority,
        })
    }

    /// Applies it to the current thread, if that is permitted.
    fn apply(self) {
        let parameters = libc::sched_param {
            sched_priority: self.priority,
        };
        // SAFETY: the pointer is to parameters that live until after the call.
        let _ = unsafe { libc::sched_setscheduler(0, self.policy, &raw const parameters) };
    }
}

/// For `ioprio_get` and `ioprio_set`: the number identifies a thread.
const IO_PRIORITY_OF_THREAD: c_int = 1;

/// Returns the I/O class and level of a thread.
fn io_priority(thread: Pid) -> Option<c_int> {
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: this takes and returns numbers only.
    let priority = unsafe { libc::syscall(libc::SYS_ioprio_get, IO_PRIORITY_OF_THREAD, thread) };
    c_int::try_from(priority)
        .ok()
        .filter(|priority| *priority >= 0)
}

/// Sets the I/O class and level of the current thread, if that is permitted.
fn set_io_priority(priority: c_int) {
    // SAFETY: this takes and returns numbers only.
    let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, IO_PRIORITY_OF_THREAD, 0, priority) };
}
