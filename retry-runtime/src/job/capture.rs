//! Captures the output of workers in tests, as the test harness captures that of the test itself.
//!
//! The harness captures what the macros `print!` and `eprint!` write on a test's thread and on the threads
//! that descend from it. So each thread of a test that makes calls starts a thread that writes the output of
//! its calls. Lines of an unknown call go to the test that called the function last.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::api::events::Stream;
use crate::sys::PerProcess;

/// Longest wait until a line is written. The harness only stores it in memory.
const MAX_LINE_WAIT: Duration = Duration::from_secs(1);

/// Set once the harness captures output.
static IS_ON: AtomicBool = AtomicBool::new(false);

static CAPTURES: PerProcess<Mutex<Captures>> = PerProcess::new();

thread_local! {
    static CAPTURE: RefCell<Option<Arc<Capture>>> = const { RefCell::new(None) };
}

/// Maps output to the thread that captures it. Output of tests that have ended is dropped.
#[derive(Default)]
struct Captures {
    of_callers: HashMap<u32, Weak<Capture>>,
    of_functions: HashMap<&'static str, Weak<Capture>>,
}

fn lock() -> MutexGuard<'static, Captures> {
    let captures = CAPTURES.get_or_init(Mutex::default);
    captures.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes lines where the harness captures the output of one thread.
struct Capture(Sender<CapturedLine>);

struct CapturedLine {
    stream: Stream,
    text: String,
    written: SyncSender<()>,
}

impl Capture {
    /// Starts a thread whose output the harness attributes to this thread.
    fn start() -> Option<Arc<Self>> {
        let (sender, lines) = channel::<CapturedLine>();
        std::thread::Builder::new()
            .name("retry-capture".to_owned())
            .spawn(move || {
                for line in lines {
                    match line.stream {
                        Stream::Stdout => print!("{}", line.text),
                        Stream::Stderr => eprint!("{}", line.text),
                    }
                    let _ = line.written.send(());
                }
            })
            .ok()?;
        Some(Arc::new(Self(sender)))
    }

    fn write(&self, stream: Stream, text: &[u8]) {
        let (written, waits) = sync_channel(1);
        let text = String::from_utf8_lossy(text).into_owned();
        let line = CapturedLine {
            stream,
            text,
            written,
        };
        if self.0.send(line).is_ok() {
            let _ = waits.recv_timeout(MAX_LINE_WAIT);
        }
    }
}

/// Returns whether the output of workers may have to be captured.
#[inline]
pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Begins a test on this thread; the test ends when the returned guard is dropped.
pub(crate) fn begin(caller: impl FnOnce() -> u32) -> Test {
    let shown = |argument: &OsStr| argument == "--nocapture" || argument == "--no-capture";
    let asked = std::env::var_os("RUST_TEST_NOCAPTURE").is_some_and(|value| value != "0");
    if asked || std::env::args_os().any(|argument| shown(&argument)) {
        return Test;
    }
    IS_ON.store(true, Ordering::Relaxed);
    // The thread may have run another test before.
    let _ = CAPTURE.try_with(|own| own.replace(Capture::start()));
    // Asked for last: a caller that is made before there is a capture would start one of its own.
    register(caller());
    Test
}

/// A guard that represents the test on this thread.
pub(crate) struct Test;

impl Drop for Test {
    fn drop(&mut self) {
        // The thread may run another test after this one.
        let _ = CAPTURE.try_with(RefCell::take);
    }
}

/// Registers a caller that makes its calls on this thread.
pub(crate) fn register(caller: u32) {
    let capture = CAPTURE.try_with(|own| {
        let mut own = own.borrow_mut();
        if own.is_none() {
            *own = Capture::start();
        }
        own.as_ref().map(Arc::downgrade)
    });
    if let Ok(Some(capture)) = capture {
        lock().of_callers.insert(caller, capture);
    }
}

/// Routes the output of a function that a caller calls on this thread to the capture of that caller.
pub(crate) fn route(function: &'static str, caller: u32) {
    let goes_somewhere = |capture: &Weak<Capture>| capture.strong_count() > 0;
    // The thread may have belonged to a test that has ended.
    if !lock().of_callers.get(&caller).is_some_and(goes_somewhere) {
        register(caller);
    }
    route_within(function, caller, caller);
}

/// Routes the output of a function that a caller calls from within a call of `outer` to the capture of
/// `outer`.
pub(crate) fn route_within(function: &'static str, caller: u32, outer: u32) {
    let mut captures = lock();
    if let Some(capture) = captures.of_callers.get(&outer).cloned() {
        captures.of_callers.insert(caller, Weak::clone(&capture));
        captures.of_functions.insert(function, capture);
    }
}

/// Writes output of a function's worker, for the call of a caller if it is known. Returns false if the output
/// belongs to no test.
pub(crate) fn write(
    stream: Stream,
    function: &'static str,
    caller: Option<u32>,
    text: &[u8],
) -> bool {
    let captures = lock();
    let of_caller = caller.and_then(|caller| captures.of_callers.get(&caller));
    let capture = of_caller.or_else(|| captures.of_functions.get(function));
    let Some(capture) = capture.cloned() else {
        return false;
    };
    drop(captures);
    if let Some(capture) = capture.upgrade() {
        capture.write(stream, text);
    }
    true
}
