//! Keeps processes from being started while the program is suspended.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The time to wait for a start that is under way. It takes some milliseconds, unless the process does not
/// read its orders or the file system hangs.
const LONGEST_START: Duration = Duration::from_secs(1);

/// The starts of the processes of one engine. The spawner makes one at a time.
#[derive(Default)]
pub(super) struct Starts {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_held: bool,
    is_under_way: bool,
}

/// A start that is under way. It ends, when this is dropped, with a process that the engine knows or without
/// one.
pub(super) struct Start<'a>(&'a Starts);

impl Starts {
    /// Begins a start, once starts are not held.
    pub(super) fn begin(&self) -> Start<'_> {
        let state = self.changed.wait_while(self.lock(), |state| state.is_held);
        state.unwrap_or_else(PoisonError::into_inner).is_under_way = true;
        Start(self)
    }

    /// Keeps starts from beginning until they are [released](Self::release), and waits for the end of the one
    /// that is under way, if it ends soon.
    pub(super) fn hold(&self) {
        self.hold_within(LONGEST_START);
    }

    fn hold_within(&self, patience: Duration) {
        let mut state = self.lock();
        state.is_held = true;
        let is_under_way = |state: &mut State| state.is_under_way;
        let waited = self
            .changed
            .wait_timeout_while(state, patience, is_under_way);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets starts begin again.
    pub(super) fn release(&self) {
        self.lock().is_held = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        self.0.lock().is_under_way = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_start_begins_while_they_are_held() {
        let starts = Starts::default();
        let has_begun = AtomicBool::new(false);
        let first = starts.begin();
        thread::scope(|scope| {
            let holding = scope.spawn(|| starts.hold_within(Duration::from_secs(3600)));
            while !starts.lock().is_held {
                thread::yield_now();
            }
            assert!(!holding.is_finished(), "the first start is under way");
            let second = scope.spawn(|| {
                let _start = starts.begin();
                has_begun.store(true, Ordering::Relaxed);
            });
            drop(first);
            holding.join().unwrap();
            assert!(!has_begun.load(Ordering::Relaxed));
            starts.release();
            second.join().unwrap();
        });
        assert!(has_begun.load(Ordering::Relaxed));
    }
}
