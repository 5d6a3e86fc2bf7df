//! Signals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::ptr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use super::clock::timespec;
use crate::sys::PerProcess;

/// Returns whether a signal is ignored. `/proc` shows this as well, but reading it would take a worker longer
/// than everything else that it does before its orders.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the second parameter may be null, which changes nothing, and the third has room for what is
    // written.
    let done = unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) };
    // SAFETY: a call that succeeds has written the action.
    done == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// The pipe into which this process's signal handler writes the numbers of signals.
static PIPE: PerProcess<OwnedFd> = PerProcess::new();

/// The signals that ask a program to end.
const ENDING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// The number of the signal that asks a program what it is doing.
pub(crate) const QUESTION: i32 = Signal::USR1.as_raw();

/// The signals that this process catches, in the order of their arrival.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Creates the pipe through which this process learns of its signals.
    pub(crate) fn open() -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        PIPE.get_or_init(|| writer);
        Ok(Self(reader))
    }

    /// Returns whether this process has a pipe for signals. A forked child has none.
    pub(crate) fn are_open() -> bool {
        PIPE.get().is_some()
    }

    /// Waits for the next signal and returns its number. Returns `None` if none arrives within the time, or if
    /// the program has closed the pipe.
    pub(crate) fn next(&self, timeout: Option<Duration>) -> Option<i32> {
        let timeout = timeout.map(timespec);
        let mut files = [PollFd::new(&self.0, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut files, timeout.as_ref())).ok()?;
        let mut number = [0u8; 1];
        match rustix::io::read(&self.0, &mut number) {
            Ok(1) => Some(number[0].into()),
            _ => None,
        }
    }
}

/// Catches the signals that ask a program to end, and the one that asks what it is doing, from now on: the handler writes the number of the signal to
/// the pipe of the process that receives it. A forked child inherits the handler. As long as the child has no
/// pipe of its own, the signal has its default effect there.
///
/// Signals that were ignored when the program started stay ignored: `nohup` ignores them, and so does a shell
/// that starts a background job.
pub(crate) fn catch() {
    let all = ENDING.into_iter().chain([Signal::USR1]);
    for signal in all.filter(|one| !is_ignored(*one)) {
        set_action(signal.as_raw(), true);
    }
}

/// The signal handler. It may interrupt a thread anywhere, so it may only use what is async-signal-safe.
extern "C" fn on_signal(number: std::ffi::c_int) {
    // SAFETY: these are functions of the C library that may be called in a handler. The first returns the
    // address of this thread's error number, which is valid as long as the thread.
    unsafe extern "C" {
        safe fn __errno_location() -> *mut std::ffi::c_int;
        safe fn raise(number: std::ffi::c_int) -> std::ffi::c_int;
    }
    let errno = __errno_location();
    // SAFETY: as above; no other thread uses it.
    let before = unsafe { *errno };
    let pipe = PIPE.get();
    let number_byte = [u8::try_from(number).unwrap_or(0)];
    let written = pipe.map(|pipe| rustix::io::write(pipe, &number_byte));
    // If the pipe is full, the reader already has signals to handle. If there is no pipe, or the program has
    // closed it, the signal takes its default effect as soon as this handler returns: it is blocked until
    // then.
    if !matches!(written, Some(Ok(_) | Err(Errno::AGAIN))) {
        set_action(number, false);
        let _ = raise(number);
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Resets a signal to its default action.
pub(crate) fn reset(signal: Signal) {
    set_action(signal.as_raw(), false);
}

/// Sets a signal's action to `on_signal` or to the default.
fn set_action(number: std::ffi::c_int, caught: bool) {
    type Handler = extern "C" fn(std::ffi::c_int);
    // SAFETY: this is the C library's `signal`. A handler is a pointer, and the default is null.
    unsafe extern "C" {
        fn signal(number: std::ffi::c_int, handler: Option<Handler>) -> usize;
    }
    let handler = caught.then_some(on_signal as Handler);
    // SAFETY: as above. It fails only for numbers that are no signals, and `on_signal` may be called at any
    // moment.
    let _ = unsafe { signal(number, handler) };
}
