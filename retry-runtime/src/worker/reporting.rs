//! The time that it takes to report a failure, which is not counted as the attempt's: the first
//! backtrace of a process alone takes about 0.1 s, since it reads the debug information.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::sys;
use crate::transport::Board;

/// This worker's board, and the process that may write there: a fork of it may not.
static BOARD: OnceLock<(Arc<Board>, u32)> = OnceLock::new();

/// The number of inputs that this worker executes at once.
static SLOTS: AtomicUsize = AtomicUsize::new(0);

static PAUSE: Mutex<Pause> = Mutex::new(Pause { depth: 0, since: 0 });

/// The reports that are being made, on any thread.
struct Pause {
    depth: u32,
    /// When the first of them was begun.
    since: u64,
}

/// Makes the worker's board known.
pub(super) fn install(board: Arc<Board>) {
    let _ = BOARD.set((board, std::process::id()));
}

/// Tells how many inputs the worker executes at once.
pub(super) fn serves(slots: usize) {
    SLOTS.store(slots, Ordering::Relaxed);
}

/// Returns the board, if this process is a worker.
pub(super) fn board() -> Option<&'static Board> {
    let (board, pid) = BOARD.get()?;
    (*pid == std::process::id()).then_some(board)
}

/// While one of these exists, the clocks of all attempts of this worker stand still.
pub(crate) struct Reporting(Option<&'static Board>);

impl Reporting {
    pub(crate) fn begin() -> Self {
        let board = board();
        if let Some(board) = board {
            let mut pause = PAUSE.lock().unwrap_or_else(PoisonError::into_inner);
            if pause.depth == 0 {
                pause.since = sys::monotonic_nanos();
                board.pause(pause.since);
            }
            pause.depth += 1;
        }
        Self(board)
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        if let Some(board) = self.0 {
            let mut pause = PAUSE.lock().unwrap_or_else(PoisonError::into_inner);
            pause.depth -= 1;
            if pause.depth == 0 {
                let slots = SLOTS.load(Ordering::Relaxed);
                board.resume(slots, pause.since, sys::monotonic_nanos());
            }
        }
    }
}
