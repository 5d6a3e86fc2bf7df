//! The end of a process, and the C library's standard output.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Registers `f` to be called when the program ends by returning from `main` or by `exit`.
pub(crate) fn at_exit(f: extern "C" fn()) {
    // SAFETY: this is the C library's `atexit`. It accepts any function that does not unwind, and a Rust
    // function of this type aborts instead of unwinding.
    unsafe extern "C" {
        safe fn atexit(f: extern "C" fn()) -> std::ffi::c_int;
    }
    // If there is no memory for the registration, the end of the program waits for nothing.
    let _ = atexit(f);
}

/// Makes the process exit with `code` where it would exit with 0, by returning from `main` or by `exit`. Returns
/// false if the C library cannot do that.
#[cfg(target_env = "gnu")]
pub(crate) fn fail_at_exit(code: c_int) -> bool {
    // SAFETY: this is glibc's `on_exit`. It accepts any function that does not unwind, and passes the argument on
    // as it is.
    unsafe extern "C" {
        safe fn on_exit(f: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    }
    static OWNER: AtomicU32 = AtomicU32::new(0);
    extern "C" fn fail(status: c_int, code: *mut c_void) {
        // A forked child inherits the handler.
        let is_own = OWNER.load(Ordering::Relaxed) == std::process::id();
        if status == 0 && is_own {
            let code = c_int::try_from(code.addr()).unwrap_or(1);
            // SAFETY: this takes a number. With glibc a handler may call it: the other handlers run with the new
            // status.
            unsafe { libc::exit(code) }
        }
    }
    OWNER.store(std::process::id(), Ordering::Relaxed);
    let code = ptr::without_provenance_mut(usize::try_from(code).unwrap_or(1));
    on_exit(fail, code) == 0
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn fail_at_exit(_: c_int) -> bool {
    false
}

/// The C library's standard output.
mod c_stdout {
    use std::ffi::{c_char, c_int, c_void};

    unsafe extern "C" {
        pub(super) static stdout: *mut c_void;
        pub(super) fn __fpending(stream: *mut c_void) -> usize;
        pub(super) fn fflush(stream: *mut c_void) -> c_int;
        pub(super) fn setvbuf(
            stream: *mut c_void,
            buffer: *mut c_char,
            mode: c_int,
            size: usize,
        ) -> c_int;
    }

    /// `_IOLBF`, the same in glibc and musl.
    pub(super) const LINE_BUFFERED: c_int = 1;
}

/// Makes the C library write its standard output line by line, as Rust does. Otherwise it would write to a
/// pipe only when its buffer is full.
pub(crate) fn buffer_c_stdout_by_line() {
    // SAFETY: `stdout` is the C library's stream or one that the program has put in its place, which is a
    // stream as well. Without a buffer and a size, the stream keeps its buffer.
    unsafe {
        c_stdout::setvbuf(
            c_stdout::stdout,
            ptr::null_mut(),
            c_stdout::LINE_BUFFERED,
            0,
        );
    }
}

/// Writes what C code has left in the buffer of its standard output.
#[inline]
pub(crate) fn flush_c_stdout() {
    // SAFETY: as above. If another thread prints meanwhile, the number of bytes is outdated and nothing else;
    // `fflush` takes the stream's lock.
    unsafe {
        if c_stdout::__fpending(c_stdout::stdout) > 0 {
            c_stdout::fflush(c_stdout::stdout);
        }
    }
}

/// Ends this process at once, without flushing buffers or running exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: this takes a number and does not return.
    unsafe { libc::_exit(code) }
}
