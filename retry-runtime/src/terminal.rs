//! Coordinates writes to the terminal that the program, its workers and the progress line share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use crate::sys::PerProcess;
pub(crate) use crate::sys::terminal::{columns, takes_more, write};

/// Width assumed for a terminal that does not report one.
const WIDTH: usize = 80;

/// Erases everything below the cursor, which is where the progress line is drawn.
const CLEAR: &str = "\x1b[J";

/// Set while a progress line may be on the terminal.
static ON: PerProcess<AtomicBool> = PerProcess::new();

/// True while a line is on the terminal. Every thread that writes to the terminal holds this lock.
static DRAWN: PerProcess<Mutex<bool>> = PerProcess::new();

/// Returns whether this process draws a line. A forked child does not: its parent does.
pub(crate) fn is_on() -> bool {
    ON.get().is_some_and(|on| on.load(Ordering::Relaxed))
}

fn drawn() -> MutexGuard<'static, bool> {
    let drawn = DRAWN.get_or_init(Mutex::default);
    drawn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A guard that allows writing to the terminal: while it exists, no progress line is there.
pub(crate) struct Room(#[expect(dead_code, reason = "it is dropped")] MutexGuard<'static, bool>);

/// Erases the line, before something is written to the standard streams. The caller keeps the returned guard
/// until it has written. Costs one relaxed load if no line is drawn, and does not wait for a terminal that is
/// stopped.
pub(crate) fn make_room() -> Option<Room> {
    if !is_on() {
        return None;
    }
    let mut drawn = drawn();
    if *drawn && takes_more() {
        write(CLEAR);
        *drawn = false;
    }
    Some(Room(drawn))
}

/// Set while the program waits for its calls. A line is drawn only then: the program's own output does not
/// pass through this module, and would be mixed with the line.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Records that the program is about to wait for calls.
#[inline]
pub(crate) fn begin_wait() {
    if is_on() {
        WAITS.store(true, Ordering::Relaxed);
    }
}

/// Records that the program is about to continue and may print. Erases the line, which does not come back
/// before the program waits again.
#[inline]
pub(crate) fn end_wait() {
    if is_on() {
        WAITS.store(false, Ordering::Relaxed);
        // A line is drawn only under the lock, by a thread that finds the flag set while it holds the lock.
        drop(make_room());
    }
}

/// Records the result of polling one of the program's futures: waiting if pending, continuing if ready.
#[inline]
pub(crate) fn polled<T>(poll: Poll<T>) -> Poll<T> {
    match &poll {
        Poll::Pending => begin_wait(),
        Poll::Ready(_) => end_wait(),
    }
    poll
}

/// Erases the line for good.
pub(crate) fn end() {
    // A line is drawn only by a thread that finds `ON` set while it holds the lock.
    let room = make_room();
    if let Some(on) = ON.get() {
        on.store(false, Ordering::Relaxed);
    }
    drop(room);
}

/// Allows this process to draw a line.
pub(crate) fn begin() {
    ON.get_or_init(AtomicBool::default)
        .store(true, Ordering::Relaxed);
}

/// Draws a line if the program is waiting for calls.
pub(crate) fn draw(line: &str) {
    let mut drawn = drawn();
    if is_on() && WAITS.load(Ordering::Relaxed) {
        write(&below_the_cursor(line));
        *drawn = true;
    }
}

/// Returns the codes that draw a line below the cursor and restore the cursor. Output of the program itself,
/// which cannot be intercepted, then starts where it would have started without the line.
fn below_the_cursor(line: &str) -> String {
    // Erase the old line, since the cursor may be on it by now. Move down a row and up again, so that there
    // is a row below. Save the cursor; move down, to the start of the row; write the line; restore the
    // cursor.
    format!("{CLEAR}\x1bD\x1b[A\x1b7\x1b[B\r{line}\x1b8")
}

/// Returns the terminal's number of columns less one: some terminals wrap after the last column.
pub(crate) fn width() -> usize {
    columns().filter(|columns| *columns > 1).unwrap_or(WIDTH) - 1
}
