//! Limits of the system: the stack of the main thread, and errors that say that something is used up.

use std::io;

use rustix::process::Resource;

/// Returns whether an operating system error means that descriptors, processes or memory are exhausted at the
/// moment.
pub(crate) fn is_for_want_of_resources(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let scarce = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::NOBUFS,
    ];
    let code = error.raw_os_error();
    scarce
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == code)
}

/// Returns the maximum stack size of this process's main thread, for threads that run code that would
/// otherwise run there. If there is no limit, or one that a thread could not reserve, returns a common size;
/// the result is never smaller than the standard library's default.
pub(crate) fn main_stack_size() -> usize {
    const LEAST: u64 = 2 * 1024 * 1024;
    const MOST: u64 = 1024 * 1024 * 1024;
    const USUAL: u64 = 8 * 1024 * 1024;
    let limit = rustix::process::getrlimit(Resource::Stack).current;
    let size = limit.filter(|limit| *limit <= MOST).unwrap_or(USUAL);
    usize::try_from(size.max(LEAST)).unwrap_or(usize::MAX)
}

/// Returns the name of this machine.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
