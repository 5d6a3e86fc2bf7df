//! The lease of an agent's workers: the moment at which they end themselves, in memory that all of them share with the
//! agent.
//!
//! An agent that hears nothing from its engine ends its calls in time. One that was stopped cannot, while its calls begin
//! again elsewhere, so its workers do it. The moment is on a clock that goes on while the machine is suspended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ControlBlock;
use crate::sys::{self, SharedMemory};

/// The time at which the lease ends, in nanoseconds; zero if nothing runs for which there is one.
const UNTIL: usize = 0;
/// The number of changes that workers must be woken for.
const CHANGES: usize = 8;
const LENGTH: usize = 16;

/// The longest time between two looks at the clock. The timer of a sleep stands still while the machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The agent's side.
pub(crate) struct Lease {
    memory: SharedMemory,
    file: OwnedFd,
}

/// A worker's side.
pub(crate) struct Leased(SharedMemory);

/// The end of a worker whose lease is over, as it tells its parent.
pub(crate) struct LeaseEnd(pub(super) Arc<SharedMemory>);

impl Lease {
    pub(crate) fn create() -> io::Result<Self> {
        let (memory, file) = SharedMemory::create(LENGTH)?;
        Ok(Self { memory, file })
    }

    /// Returns the descriptor with which a worker can [map](Leased::map) the lease.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Sets for how long workers may go on from now on; `None` if they may for ever. Calls of this must not overlap.
    pub(crate) fn set(&self, left: Option<Duration>) {
        let end = |left: Duration| sys::boot_nanos().saturating_add(sys::nanos_of(left));
        let until = left.map_or(0, |left| end(left).max(1));
        let before = self.memory.word(UNTIL).swap(until, Ordering::AcqRel);
        // A worker sleeps until the end that it knows at most, so that it finds later ones by itself.
        if until != 0 && (before == 0 || until < before) {
            let changes = self.memory.half_word(CHANGES);
            changes.fetch_add(1, Ordering::AcqRel);
            self.memory.wake_all(CHANGES);
        }
    }
}

impl Leased {
    pub(crate) fn map(file: impl AsFd) -> io::Result<Self> {
        SharedMemory::map(file, LENGTH).map(Self)
    }

    /// Blocks until the lease is over.
    pub(crate) fn wait(&self) {
        loop {
            let changes = self.memory().half_word(CHANGES).load(Ordering::Acquire);
            let until = sys::load(self.memory().word(UNTIL));
            match decide(sys::boot_nanos(), until) {
                Decision::Ends => return,
                // Without a lease an agent wakes its workers once there is one.
                Decision::Sleeps(time) => self.memory().sleep(CHANGES, changes, time),
            }
        }
    }

    fn memory(&self) -> &SharedMemory {
        &self.0
    }
}

impl LeaseEnd {
    /// Tells the parent that this worker ends because its lease is over.
    pub(crate) fn note(&self) {
        ControlBlock::lease_over(&self.0).store(1, Ordering::Release);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Ends,
    /// The worker goes on, and looks again after a time, or once it is woken.
    Sleeps(Option<Duration>),
}

fn decide(now: u64, until: u64) -> Decision {
    match until {
        0 => Decision::Sleeps(None),
        until if until <= now => Decision::Ends,
        until => Decision::Sleeps(Some(Duration::from_nanos(until - now).min(LONGEST_SLEEP))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_worker_ends_when_its_lease_is_over() {
        let sleeps = |nanos| Decision::Sleeps(Some(Duration::from_nanos(nanos)));
        assert_eq!(decide(5, 0), Decision::Sleeps(None), "there is no lease");
        assert_eq!(decide(5, 6), sleeps(1));
        assert_eq!(decide(5, 5), Decision::Ends);
        assert_eq!(decide(6, 5), Decision::Ends);
        // The thread looks at the clock again even if the lease is long.
        assert_eq!(decide(5, u64::MAX), sleeps(1_000_000_000));
    }

    #[test]
    fn a_lease_that_is_set_or_shortened_wakes_a_worker() {
        let lease = Lease::create().unwrap();
        let leased = Leased::map(lease.file()).unwrap();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            leased.wait();
            let _ = sender.send(());
        });
        lease.set(Some(Duration::MAX));
        lease.set(None);
        assert!(ended.recv_timeout(Duration::from_millis(20)).is_err());
        lease.set(Some(Duration::from_secs(1000)));
        assert!(ended.recv_timeout(Duration::from_millis(20)).is_err());
        lease.set(Some(Duration::ZERO));
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
