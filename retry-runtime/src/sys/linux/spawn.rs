//! Starts programs.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::{self, NonNull};

use rustix::process::Pid;

use super::signals::SUSPEND;

/// A program to start.
pub(crate) struct Program {
    /// The program's file. Looked up in the directories of `PATH` if it has no slash.
    pub(crate) file: OsString,
    /// The program's own name, then its arguments.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: Option<OsString>,
}

/// Starts a program in a process group of its own, with these standard streams and without any other
/// descriptor of this process.
///
/// `std::process::Command` leaves open every descriptor that is not marked close-on-exec, and whether one is
/// marked is up to the program and its C libraries. `Command` could close them only between `fork` and
/// `exec`, and forking a large process is slow.
pub(crate) fn spawn(program: &Program, streams: [OwnedFd; 3]) -> io::Result<Pid> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let file = text(&program.file)?;
    let arguments = program.arguments.iter().map(|argument| text(argument));
    let arguments = arguments.collect::<io::Result<Vec<_>>>()?;
    let environment = program.environment.iter().map(|(name, value)| {
        let mut variable = name.clone().into_vec();
        variable.push(b'=');
        variable.extend_from_slice(value.as_bytes());
        CString::new(variable).map_err(io::Error::from)
    });
    let environment = environment.collect::<io::Result<Vec<_>>>()?;
    let mut actions = FileActions::new()?;
    // A stream with a number below 3 could be overwritten before its turn, and would stay close-on-exec.
    let mut sources = Vec::with_capacity(streams.len());
    for stream in streams {
        sources.push(if stream.as_raw_fd() < FIRST {
            rustix::io::fcntl_dupfd_cloexec(&stream, FIRST)?
        } else {
            stream
        });
    }
    for (stream, target) in sources.iter().zip(0..) {
        actions.duplicate(stream.as_fd(), target)?;
    }
    if let Some(directory) = &program.directory {
        actions.change_directory(&text(directory)?)?;
    }
    actions.close_others()?;
    let attributes = SpawnAttributes::new()?;
    let pointers = |texts: &[CString]| -> Vec<*mut c_char> {
        let texts = texts.iter().map(|text| text.as_ptr().cast_mut());
        texts.chain([ptr::null_mut()]).collect()
    };
    let mut pid = 0;
    // SAFETY: the texts and everything that the actions refer to live until after the call; both lists end
    // with a null pointer; the C library does not write to the texts; actions and attributes are initialised.
    checked(unsafe {
        libc::posix_spawnp(
            &raw mut pid,
            file.as_ptr(),
            &raw const *actions.0,
            &raw const *attributes.0,
            pointers(&arguments).as_ptr(),
            pointers(&environment).as_ptr(),
        )
    })?;
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The first descriptor after the standard streams.
const FIRST: RawFd = 3;

/// Converts the result of a function that returns an error number.
fn checked(error: c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The steps that a new process takes before it runs its program. Boxed, since a C library may refer to the
/// address.
struct FileActions(Box<libc::posix_spawn_file_actions_t>);

impl FileActions {
    fn new() -> io::Result<Self> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the pointer is to room for one of these.
        checked(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: a call that succeeds has initialised it.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    /// Duplicates a descriptor to another number, which stays open in the new program.
    fn duplicate(&mut self, from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
        let from = from.as_raw_fd();
        // SAFETY: `self` is initialised. The numbers are used in the new process alone.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut *self.0, from, to) })
    }

    fn change_directory(&mut self, to: &CStr) -> io::Result<()> {
        type ChangeDirectory =
            unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, *const c_char) -> c_int;
        let found = symbol(c"posix_spawn_file_actions_addchdir_np");
        // glibc before 2.29.
        let found = found.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the C library's function of this name has this type.
        let change_directory: ChangeDirectory = unsafe { std::mem::transmute(found) };
        // SAFETY: `self` is initialised, and the C library copies the path.
        checked(unsafe { change_directory(&raw mut *self.0, to.as_ptr()) })
    }

    /// Closes all descriptors except the standard streams. Must be the last action, since earlier ones need
    /// some of the descriptors.
    fn close_others(&mut self) -> io::Result<()> {
        type CloseFrom =
            unsafe extern "C" fn(*mut libc::posix_spawn_file_actions_t, c_int) -> c_int;
        if let Some(found) = symbol(c"posix_spawn_file_actions_addclosefrom_np") {
            // SAFETY: the C library's function of this name has this type.
            let close_from: CloseFrom = unsafe { std::mem::transmute(found) };
            // SAFETY: `self` is initialised.
            return checked(unsafe { close_from(&raw mut *self.0, FIRST) });
        }
        // glibc before 2.34, and musl. A descriptor that another thread opens from here on is not closed.
        for number in inheritable() {
            // SAFETY: `self` is initialised. The number is closed in the new process alone, where it does not
            // matter whether it is open.
            checked(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut *self.0, number) })?;
        }
        Ok(())
    }
}

/// Looks up a function that not all versions of the C library have.
fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name is a text that ends with a zero byte.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: `self` is initialised and not used after this.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut *self.0) };
    }
}

/// Returns the descriptors besides the standard streams that a new program would inherit.
fn inheritable() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= FIRST)
        .filter(|number| {
            // SAFETY: this reads a flag of whatever has the number, and fails if nothing has.
            let flags = unsafe { libc::fcntl(*number, libc::F_GETFD) };
            flags >= 0 && flags & libc::FD_CLOEXEC == 0
        })
        .collect()
}

/// The initial state of a new process.
struct SpawnAttributes(Box<libc::posix_spawnattr_t>);

impl SpawnAttributes {
    /// Creates attributes that give the process a group of its own, a signal mask with [`SUSPEND`] alone, and
    /// the default action for SIGPIPE. Rust's runtime ignores that signal, but programs written in other
    /// languages do not expect that.
    ///
    /// The process belongs to this program's group for a moment, and gets the SIGTSTP of a Ctrl-Z in that
    /// moment. The signal would suspend it in its own group, which the shell does not continue, and before it
    /// runs its program, which the thread that starts it waits for.
    fn new() -> io::Result<Self> {
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the pointer is to room for one of these.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: a call that succeeds has initialised it.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut signals = MaybeUninit::uninit();
        let flags = libc::POSIX_SPAWN_SETPGROUP
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = flags.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let these = &raw mut *attributes.0;
        // SAFETY: the attributes are initialised. The first call initialises the set and cannot fail, and the
        // setters copy the set.
        unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE);
            checked(libc::posix_spawnattr_setsigdefault(these, signals.as_ptr()))?;
            libc::sigemptyset(signals.as_mut_ptr());
            libc::sigaddset(signals.as_mut_ptr(), SUSPEND);
            checked(libc::posix_spawnattr_setsigmask(these, signals.as_ptr()))?;
            checked(libc::posix_spawnattr_setpgroup(these, 0))?;
            checked(libc::posix_spawnattr_setflags(these, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for SpawnAttributes {
    fn drop(&mut self) {
        // SAFETY: `self` is initialised and not used after this.
        unsafe { libc::posix_spawnattr_destroy(&raw mut *self.0) };
    }
}

/// Returns the address of this program's headers, as reported by the kernel or the dynamic loader.
pub(crate) fn program_headers() -> usize {
    // SAFETY: this reads a table that does not change.
    let address = unsafe { libc::getauxval(libc::AT_PHDR) };
    usize::try_from(address).unwrap_or(0)
}
