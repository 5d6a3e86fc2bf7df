//! Shares the terminal between the program, its workers and the display of progress.
//!
//! The display is a frame of a few rows below the cursor. The program's own output does not pass through this
//! module, so a frame is on the terminal only while the program waits for calls, and the cursor stays where the
//! program has left it.

use std::cell::Cell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::sys::PerProcess;
pub(crate) use crate::sys::terminal::{size, takes_more, write};

/// The size that is assumed for a terminal that does not report one: rows and columns.
const SIZE: (usize, usize) = (24, 80);

/// Erases everything below the cursor, which is where the frame is.
const CLEAR: &str = "\x1b[J";

/// The least time between two drawings of a frame that was erased in between: a program may take a result every
/// few microseconds.
const MIN_REDRAW_INTERVAL: Duration = Duration::from_millis(5);

/// Set while there may be a frame on the terminal.
static ON: PerProcess<AtomicBool> = PerProcess::new();

/// Every thread that writes to the terminal holds this lock.
static FRAME: PerProcess<Mutex<Frame>> = PerProcess::new();

/// The number of closures that are running for which the program has taken the display off the terminal.
static SUSPENDED: PerProcess<AtomicUsize> = PerProcess::new();

/// Takes a display off the terminal while it calls the closure.
pub(crate) type Suspend = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// The display of the program, if it draws the progress of its calls itself.
static ADOPTED: OnceLock<Suspend> = OnceLock::new();

/// The rows below the cursor.
#[derive(Default)]
struct Frame {
    rows: Vec<String>,
    /// True while the rows are on the terminal.
    is_drawn: bool,
    drawn_at: Option<Instant>,
    /// True while the program waits for its calls.
    waits: bool,
    /// True while the program does not want to see the frame.
    is_hidden: bool,
}

impl Frame {
    fn erase(&mut self) {
        if self.is_drawn && takes_more() {
            write(CLEAR);
            self.is_drawn = false;
        }
    }

    fn draw(&mut self) {
        let wanted = self.waits && !self.is_hidden && !self.rows.is_empty();
        if wanted && is_on() && !is_suspended() && takes_more() {
            write(&below_the_cursor(&self.rows));
            self.is_drawn = true;
            self.drawn_at = Some(Instant::now());
        }
    }

    /// Draws the frame again, unless it was drawn a moment ago: then the next frame follows soon.
    fn draw_again(&mut self) {
        let is_due = (self.drawn_at).is_none_or(|drawn| drawn.elapsed() >= MIN_REDRAW_INTERVAL);
        if !self.is_drawn && is_due {
            self.draw();
        }
    }
}

/// Returns whether this process draws a frame. A forked child does not: its parent does.
pub(crate) fn is_on() -> bool {
    ON.get().is_some_and(|on| on.load(Ordering::Relaxed))
}

fn frame() -> MutexGuard<'static, Frame> {
    let frame = FRAME.get_or_init(Mutex::default);
    frame.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allows to write to the terminal: while it exists, no frame is there. The frame comes back when it is dropped.
struct Room(MutexGuard<'static, Frame>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.draw_again();
    }
}

/// Calls a closure that writes to the terminal and does nothing else. No display is there while it runs, and no other
/// thread writes that calls this function.
pub(crate) fn suspend<R>(write: impl FnOnce() -> R) -> R {
    if is_suspended() {
        // The display is away already. The closure of the program may wait for this thread.
        return write();
    }
    let Some(suspend) = ADOPTED.get() else {
        let _room = make_room();
        return write();
    };
    let (mut write, mut result) = (Some(write), None);
    suspend(&mut || result = write.take().map(|write| write()));
    result.expect("the display calls the closure")
}

/// Calls a closure of the program, which may take its time, make calls, and come here again. No display is there while
/// it runs. What other threads print comes in between.
pub(crate) fn suspend_for_program<R>(work: impl FnOnce() -> R) -> R {
    thread_local! {
        /// True while this thread runs such a closure below an adopted display, whose lock it holds then.
        static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    let Some(suspend) = ADOPTED.get().filter(|_| !IS_INSIDE.get()) else {
        let _suspension = Suspension::begin();
        return work();
    };
    let (mut work, mut result) = (Some(work), None);
    suspend(&mut || {
        let _suspension = Suspension::begin();
        IS_INSIDE.set(true);
        let outcome = work.take().map(|work| catch_unwind(AssertUnwindSafe(work)));
        IS_INSIDE.set(false);
        result = outcome;
    });
    let result = result.expect("the display calls the closure");
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

fn is_suspended() -> bool {
    SUSPENDED
        .get()
        .is_some_and(|suspended| suspended.load(Ordering::Relaxed) > 0)
}

/// Keeps the frame off the terminal without keeping its lock.
struct Suspension;

impl Suspension {
    fn begin() -> Self {
        // A thread that draws looks at this under the lock, which is taken afterwards.
        SUSPENDED
            .get_or_init(AtomicUsize::default)
            .fetch_add(1, Ordering::Relaxed);
        if is_on() {
            frame().erase();
        }
        Self
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        if let Some(suspended) = SUSPENDED.get() {
            // A forked child, which returns from the closure as well, has begun none.
            let fewer = |count: usize| count.checked_sub(1);
            let _ = suspended.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        }
        if is_on() {
            frame().draw_again();
        }
    }
}

/// Leaves the drawing to the program, which takes its display off the terminal when asked to. Returns whether it
/// is the first to do so.
pub(crate) fn adopt(suspend: Suspend) -> bool {
    end();
    ADOPTED.set(suspend).is_ok()
}

/// Erases the frame. The caller keeps the returned guard until it has written. Costs one relaxed load if no frame
/// is drawn, and does not wait for a terminal that is stopped.
fn make_room() -> Option<Room> {
    if !is_on() {
        return None;
    }
    let mut frame = frame();
    frame.erase();
    Some(Room(frame))
}

/// Records that the program is about to wait for calls: the frame may be drawn from now on.
#[inline]
pub(crate) fn begin_wait() {
    if is_on() {
        let mut frame = frame();
        frame.waits = true;
        frame.draw_again();
    }
}

/// Records that the program is about to continue and may print. Erases the frame, which does not come back before
/// the program waits again.
#[inline]
pub(crate) fn end_wait() {
    if is_on() {
        let mut frame = frame();
        frame.waits = false;
        frame.erase();
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

/// Allows this process to draw a frame.
pub(crate) fn begin() {
    ON.get_or_init(AtomicBool::default)
        .store(true, Ordering::Relaxed);
}

/// Erases the frame for good.
pub(crate) fn end() {
    if is_on() {
        let mut frame = frame();
        frame.erase();
        // A frame is drawn only by a thread that finds `ON` set while it holds the lock.
        if let Some(on) = ON.get() {
            on.store(false, Ordering::Relaxed);
        }
    }
}

/// Replaces the frame. Draws it if the program is waiting for calls.
pub(crate) fn set_frame(rows: Vec<String>) {
    if is_on() {
        let mut frame = frame();
        frame.rows = rows;
        match frame.rows.is_empty() {
            true => frame.erase(),
            false => frame.draw(),
        }
    }
}

/// Shows the frame, or hides it until it is shown again.
pub(crate) fn set_visible(visible: bool) {
    let mut frame = frame();
    frame.is_hidden = !visible;
    match visible {
        true => frame.draw(),
        false => frame.erase(),
    }
}

/// Returns the codes that draw rows below the cursor and restore the cursor. Output of the program itself, which
/// cannot be intercepted, then starts where it would have started without the rows.
fn below_the_cursor(rows: &[String]) -> String {
    let count = rows.len();
    // Erase the old rows, since the cursor may be on one of them by now. Move down, so that there are rows below,
    // and up again: a vertical tab keeps the column, and scrolls at the bottom. Save the cursor; write each row;
    // restore the cursor.
    let mut codes = format!("{CLEAR}{}\x1b[{count}A\x1b7", "\x0b".repeat(count));
    for row in rows {
        let _ = write!(codes, "\x1b[B\r{row}");
    }
    codes.push_str("\x1b8");
    codes
}

/// Returns how many rows and columns a frame may have: one row less than the terminal, for the program's own, and
/// one column less, since some terminals wrap after the last one.
pub(crate) fn room() -> (usize, usize) {
    let known = size().filter(|(rows, columns)| *rows > 1 && *columns > 1);
    let (rows, columns) = known.unwrap_or(SIZE);
    (rows - 1, columns - 1)
}
