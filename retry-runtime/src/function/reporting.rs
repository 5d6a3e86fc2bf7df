//! Excludes the time that it takes to report a failure from the attempt's time: the first backtrace of a
//! process alone takes about 0.1 s, since it reads the debug information.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::{self, PerProcess};
use crate::wire::ControlBlock;

/// This worker's control block. A fork of the worker must not write to it, and does not see it here.
static CONTROL_BLOCK: PerProcess<Arc<ControlBlock>> = PerProcess::new();

/// Number of inputs that this worker executes at once.
static SLOTS: AtomicUsize = AtomicUsize::new(0);

static PAUSE: PerProcess<Mutex<Pause>> = PerProcess::new();

/// The reports that are being made, on any thread.
#[derive(Default)]
struct Pause {
    depth: u32,
    /// Start of the first of them.
    since: u64,
    /// Nanoseconds that earlier reports took.
    total: u64,
}

fn lock(pause: &Mutex<Pause>) -> MutexGuard<'_, Pause> {
    pause.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the worker's control block.
pub(crate) fn install(control: Arc<ControlBlock>) {
    CONTROL_BLOCK.get_or_init(|| control);
}

/// Sets the number of inputs that the worker executes at once.
pub(crate) fn set_slots(slots: usize) {
    SLOTS.store(slots, Ordering::Relaxed);
}

/// Returns the control block, if this process is a worker.
pub(crate) fn control() -> Option<&'static ControlBlock> {
    CONTROL_BLOCK.get().map(|control| &**control)
}

/// Returns the time in nanoseconds, in a worker without suspensions of the program.
fn now() -> u64 {
    control().map_or_else(sys::monotonic_nanos, ControlBlock::now)
}

/// Returns how many nanoseconds reports have taken in this process.
pub(crate) fn total() -> u64 {
    let pause = lock(PAUSE.get_or_init(Mutex::default));
    let running = match pause.depth {
        0 => 0,
        _ => now().saturating_sub(pause.since),
    };
    pause.total + running
}

/// A guard: while any of these exists, the clocks of all attempts of this worker stand still.
pub(crate) struct Reporting(&'static Mutex<Pause>);

impl Reporting {
    pub(crate) fn begin() -> Self {
        let all = PAUSE.get_or_init(Mutex::default);
        let mut pause = lock(all);
        if pause.depth == 0 {
            pause.since = now();
            if let Some(control) = control() {
                control.pause(pause.since);
            }
        }
        pause.depth += 1;
        Self(all)
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        let mut pause = lock(self.0);
        pause.depth -= 1;
        if pause.depth == 0 {
            let (since, now) = (pause.since, now());
            pause.total += now.saturating_sub(since);
            if let Some(control) = control() {
                control.resume(SLOTS.load(Ordering::Relaxed), since, now);
            }
        }
    }
}
