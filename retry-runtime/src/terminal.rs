//! The terminal of a program, on which the program, its workers and a progress line write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys::PerProcess;

/// The width of a terminal that does not tell.
const WIDTH: usize = 80;

/// Takes away what is below the cursor: the line, since it is drawn there.
const CLEAR: &str = "\x1b[J";

/// Whether there may be a line that is in the way of others.
static ON: PerProcess<AtomicBool> = PerProcess::new();

/// Whether there is one. Whoever writes to the terminal holds this meanwhile.
static DRAWN: PerProcess<Mutex<bool>> = PerProcess::new();

/// Whether this process draws a line. A forked child draws none: its parent does.
pub(crate) fn is_on() -> bool {
    ON.get().is_some_and(|on| on.load(Ordering::Relaxed))
}

fn drawn() -> MutexGuard<'static, bool> {
    let drawn = DRAWN.get_or_init(Mutex::default);
    drawn.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to write to the terminal, on which there is no line of ours as long as this is kept.
pub(crate) struct Room(#[expect(dead_code, reason = "it is dropped")] MutexGuard<'static, bool>);

/// To be called by whoever writes to the standard streams. Costs one relaxed load where no line is
/// drawn, and does not wait for a terminal that is stopped.
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

/// Set while the program waits for its calls. Only then a line is drawn: what the program prints itself
/// goes past us, and would be mixed with the line.
static WAITS: AtomicBool = AtomicBool::new(false);

/// To be called before the program waits for calls.
#[inline]
pub(crate) fn program_waits() {
    if is_on() {
        WAITS.store(true, Ordering::Relaxed);
    }
}

/// To be called before the program goes on with what it has waited for: it may print. The line goes,
/// and does not come back before the program waits again.
#[inline]
pub(crate) fn program_goes_on() {
    if is_on() {
        WAITS.store(false, Ordering::Relaxed);
        // A line is only drawn with the lock, and by a thread that finds the flag set then.
        drop(make_room());
    }
}

/// To be called with what a future of the program's returns.
#[inline]
pub(crate) fn polled<T>(poll: Poll<T>) -> Poll<T> {
    match &poll {
        Poll::Pending => program_waits(),
        Poll::Ready(_) => program_goes_on(),
    }
    poll
}

/// Takes the line away for good.
pub(crate) fn end() {
    // A line is only drawn by who finds it on while it holds the lock.
    let room = make_room();
    if let Some(on) = ON.get() {
        on.store(false, Ordering::Relaxed);
    }
    drop(room);
}

/// Lets this process draw a line.
pub(crate) fn begin() {
    ON.get_or_init(AtomicBool::default)
        .store(true, Ordering::Relaxed);
}

/// Draws a line, if the program waits for calls.
pub(crate) fn draw(line: &str) {
    let mut drawn = drawn();
    if is_on() && WAITS.load(Ordering::Relaxed) {
        write(&below_the_cursor(line));
        *drawn = true;
    }
}

/// What draws a line below the cursor and brings the cursor back: what the program itself prints,
/// which nobody can announce, then begins where it would have without us.
fn below_the_cursor(line: &str) -> String {
    // The last one away, on which the cursor may stand by now; a row down and up again, so that
    // there is one; save; down, to its beginning, the line; restore.
    format!("{CLEAR}\x1bD\x1b[A\x1b7\x1b[B\r{line}\x1b8")
}

/// How many columns the terminal has, less one: some go to the next line after the last one.
pub(crate) fn width() -> usize {
    match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_col > 1 => usize::from(size.ws_col) - 1,
        _ => WIDTH - 1,
    }
}

/// Whether standard error takes something without our having to wait: a terminal may be stopped.
pub(crate) fn takes_more() -> bool {
    let stderr = rustix::stdio::stderr();
    let mut files = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
}

/// Writes to the descriptor itself: the program may hold the lock of its standard error. That it is
/// closed is no failure of ours.
pub(crate) fn write(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
