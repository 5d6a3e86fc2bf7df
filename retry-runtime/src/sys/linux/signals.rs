//! Signals.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use super::clock::timespec;
use crate::sys::{self, PerProcess};

/// Returns whether a signal is ignored. `/proc` shows this as well, but reading it would take a worker longer
/// than everything else that it does before its orders.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    has_action(signal, libc::SIG_IGN)
}

/// Returns whether this is the action of a signal.
fn has_action(signal: Signal, wanted: libc::sighandler_t) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the second parameter may be null, which changes nothing, and the third has room for what is
    // written.
    let done = unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) };
    // SAFETY: a call that succeeds has written the action.
    done == 0 && unsafe { action.assume_init() }.sa_sigaction == wanted
}

/// The pipe into which this process's signal handler writes the numbers of signals.
static PIPE: PerProcess<OwnedFd> = PerProcess::new();

/// The signals that ask a program to end.
const ENDING_SIGNALS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// The number of the signal that asks a program what it is doing.
pub(crate) const QUESTION: i32 = Signal::USR1.as_raw();

/// The number of the signal that asks a program to [suspend] itself: Ctrl-Z at a terminal.
pub(crate) const SUSPEND: i32 = Signal::TSTP.as_raw();

/// Set from the arrival of that signal until the program continues: further ones change nothing, as those
/// that the kernel discards when a program continues.
static SUSPENDS: AtomicBool = AtomicBool::new(false);

/// The signals that this process catches, in the order of their arrival.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Creates the pipe through which this process learns of its signals.
    pub(crate) fn open() -> io::Result<Self> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        PIPE.get_or_init(|| writer);
        // A forked child inherits it from a parent that was about to suspend itself.
        SUSPENDS.store(false, Ordering::Relaxed);
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

/// Catches the signals that ask a program to end, to suspend itself, or what it is doing, from now on: the
/// handler writes the number of the signal to the pipe of the process that receives it. A forked child
/// inherits the handler. As long as the child has no pipe of its own, the signal has its default effect
/// there.
///
/// Signals that were ignored when the program started stay ignored: `nohup` ignores them, and so does a shell
/// that starts a background job.
pub(crate) fn catch() {
    let all = ENDING_SIGNALS
        .into_iter()
        .chain([Signal::USR1, Signal::TSTP]);
    for signal in all.filter(|one| !is_ignored(*one)) {
        set_action(signal.as_raw(), true);
    }
}

/// Gives the signals that end a program their default effect again.
pub(crate) fn release() {
    for signal in ENDING_SIGNALS.into_iter().filter(|one| !is_ignored(*one)) {
        set_action(signal.as_raw(), false);
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
    let is_known = pipe.is_some() && number == SUSPEND && SUSPENDS.swap(true, Ordering::Relaxed);
    let written = match pipe {
        Some(_) if is_known => Some(Ok(0)),
        pipe => pipe.map(|pipe| rustix::io::write(pipe, &number_byte)),
    };
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

/// Suspends this process, as the kernel does where nothing handles the signal, and returns once it continues.
/// Returns at once in an orphaned process group: no shell controls such a group and could continue it, so that
/// the kernel ignores the signal.
pub(crate) fn suspend() {
    // The signal is pending before it has its default action. If another one suspends the process in between,
    // the kernel discards this one when the process continues. Otherwise the process would be suspended
    // twice.
    mask(libc::SIG_BLOCK, SUSPEND);
    // SAFETY: it takes a number only.
    unsafe { libc::raise(SUSPEND) };
    set_action(SUSPEND, false);
    mask(libc::SIG_UNBLOCK, SUSPEND);
    SUSPENDS.store(false, Ordering::Relaxed);
    set_action(SUSPEND, true);
}

/// Blocks or unblocks a signal in this thread.
fn mask(how: libc::c_int, signal: libc::c_int) {
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call initialises the set, and the last parameter may be null. They fail only for
    // numbers that are no signals.
    unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), signal);
        libc::pthread_sigmask(how, only.as_ptr(), ptr::null_mut());
    }
}

/// Makes the kernel send SIGCONT to the process group of a worker that is starting when the other end of its
/// socket is closed. The worker has not [asked for it](set_up_worker) yet.
pub(crate) fn continue_at_hang_up(socket: &OwnedFd, group: Pid) -> io::Result<()> {
    /// The request for another signal than SIGIO, which not all versions of the crate `libc` have.
    const F_SETSIG: libc::c_int = 10;
    let group = -group.as_raw_nonzero().get();
    let number = socket.as_raw_fd();
    // SAFETY: these take numbers only, and change a setting of the open socket.
    let done = unsafe {
        libc::fcntl(number, F_SETSIG, libc::SIGCONT) >= 0
            && libc::fcntl(number, libc::F_SETOWN, group) >= 0
    };
    if !done {
        return Err(io::Error::last_os_error());
    }
    Ok(fcntl_setfl(socket, fcntl_getfl(socket)? | SIGNALS)?)
}

/// The flag of a file whose events are signals.
const SIGNALS: OFlags = OFlags::from_bits_retain(libc::O_ASYNC.cast_unsigned());

/// Sets up the signals of this process, which is a worker: it can be suspended by its parent, and continues
/// when its parent ends.
pub(crate) fn set_up_worker() {
    unblock_suspend();
    continue_without_parent();
}

/// Ends what [`continue_at_hang_up`] has begun, since it would also signal each message to the worker. If the
/// process that started this one is not its parent, which is a script, only the socket tells of its end.
pub(crate) fn end_hang_up_signal(socket: &OwnedFd, parent: u32) {
    if let Some(parent) = sys::pid(parent)
        && rustix::process::getppid() == Some(parent)
        && let Ok(flags) = fcntl_getfl(socket)
    {
        let _ = fcntl_setfl(socket, flags - SIGNALS);
    }
}

/// Unblocks the signal that is blocked while a worker [starts](super::spawn), and discards the one that the
/// worker may have got.
fn unblock_suspend() {
    if has_action(Signal::TSTP, libc::SIG_DFL) {
        // SAFETY: these are actions that every signal may have which can be ignored.
        unsafe {
            libc::signal(SUSPEND, libc::SIG_IGN);
            libc::signal(SUSPEND, libc::SIG_DFL);
        }
    }
    mask(libc::SIG_UNBLOCK, SUSPEND);
}

/// Makes this process continue when its parent ends while it is suspended, so that it can end what it has
/// started. Otherwise it would stay suspended for ever.
///
/// The kernel sends SIGCONT when the parent ends. If processes of the worker's group are still suspended
/// then, and no shell controls the group, the kernel also sends SIGHUP to all of the group. The worker
/// ignores this SIGHUP alone: it would end before the processes that it has started.
fn continue_without_parent() {
    // If this is refused, the kernel's rule about groups is left.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
    if !has_action(Signal::HUP, libc::SIG_DFL) {
        return;
    }
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all bits zero are an action without a handler, flags and blocked signals. The handler has the
    // type that belongs to `SA_SIGINFO`, and the parameter for the previous action may be null.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = on_hang_up as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGHUP, action, ptr::null_mut());
    }
}

/// The handler of a worker's SIGHUP. It may interrupt a thread anywhere.
extern "C" fn on_hang_up(number: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid pointer to a handler with `SA_SIGINFO`.
    if unsafe { (*info).si_code } != libc::SI_KERNEL {
        // Takes effect as soon as this handler returns.
        set_action(number, false);
        // SAFETY: it may be called in a handler, and takes a number only.
        unsafe { libc::raise(number) };
    }
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
