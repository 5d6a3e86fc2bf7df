//! The numbers of calls, workers and tasks, which are unique within a run.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::call_id::CallNumber;

/// The next numbers, counted from 1. The schedulers of a process share them, since its runtimes belong to one
/// run: otherwise calls of two runtimes would have the same id.
#[derive(Debug)]
pub(crate) struct Numbers {
    call: AtomicU64,
    worker: AtomicU64,
    task: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            call: AtomicU64::new(1),
            worker: AtomicU64::new(1),
            task: AtomicU64::new(1),
        }
    }
}

impl Numbers {
    /// Takes consecutive numbers for calls, and returns the first one.
    pub(crate) fn take_calls(&self, count: u32) -> CallNumber {
        CallNumber(self.call.fetch_add(count.into(), Ordering::Relaxed))
    }

    pub(super) fn take_worker(&self) -> u64 {
        self.worker.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a number for a task, which carries calls to another machine.
    pub(crate) fn take_task(&self) -> u64 {
        self.task.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the number of the last worker. All workers that exist have at most this number, and later ones
    /// have greater ones.
    pub(super) fn last_worker(&self) -> u64 {
        self.worker.load(Ordering::Relaxed) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_consecutive_and_never_used_again() {
        let numbers = Numbers::default();
        assert_eq!(numbers.take_calls(3), CallNumber(1));
        assert_eq!(numbers.take_calls(1), CallNumber(4));
        assert_eq!((numbers.take_worker(), numbers.take_worker()), (1, 2));
        assert_eq!(numbers.last_worker(), 2);
        assert_eq!((numbers.take_task(), numbers.take_task()), (1, 2));
    }
}
