//! Determines the program that workers run, and how to start it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::OnceLock;

use crate::config::Config;
use crate::sys::{self, Program};
use crate::wire::launch;

/// The program that is running, even if its file has been replaced or deleted.
const THIS: &str = "/proc/self/exe";

/// Returns the program of the workers, with its arguments.
pub(super) fn of_workers(config: &Config) -> io::Result<Program> {
    let entry = launch::worker_arguments()
        .ok_or_else(|| io::Error::other("this process may not start workers"))?;
    let name = std::env::args_os().next();
    let (file, mut arguments) = match &config.program {
        Some(program) => (program.into(), vec![name.unwrap_or_else(|| program.into())]),
        None => this(name)?,
    };
    arguments.extend(entry);
    Ok(Program {
        file,
        arguments,
        environment: Vec::new(),
        directory: None,
    })
}

/// Returns the file with which to start this program again, and the arguments that come before its own.
fn this(name: Option<OsString>) -> io::Result<(OsString, Vec<OsString>)> {
    if fs::symlink_metadata(THIS).is_err() {
        // Without `/proc`, only the path is known by which the program was started.
        let path = rustix::param::linux_execfn().to_bytes();
        if path.is_empty() {
            return Err(io::Error::other(
                "the path of this program is not known without /proc",
            ));
        }
        let path = OsString::from_vec(path.to_vec());
        return Ok((path.clone(), vec![name.unwrap_or(path)]));
    }
    static RUN_BY: OnceLock<RunBy> = OnceLock::new();
    let name = name.unwrap_or_else(|| THIS.into());
    Ok(match RUN_BY.get_or_init(RunBy::find) {
        RunBy::Kernel => (THIS.into(), vec![name]),
        RunBy::Loader(arguments) => (THIS.into(), arguments.clone()),
        RunBy::Valgrind(path) => (path.clone(), vec![name]),
    })
}

/// The way in which this program was started.
#[derive(Debug, PartialEq, Eq)]
enum RunBy {
    /// `/proc/self/exe` is this program.
    Kernel,
    /// `/proc/self/exe` is a dynamic loader (`ld.so --library-path lib ./app`). Contains its command line up
    /// to and including the program.
    Loader(Vec<OsString>),
    /// `/proc/self/exe` is this program when it is read, and valgrind when it is run.
    Valgrind(OsString),
}

impl RunBy {
    fn find() -> Self {
        Self::find_other().unwrap_or(Self::Kernel)
    }

    fn find_other() -> Option<Self> {
        let headers = sys::program_headers();
        let maps = fs::read("/proc/self/maps").ok()?;
        let mappings = || {
            let lines = maps.split(|byte| *byte == b'\n');
            lines.filter_map(Mapping::parse)
        };
        let own = mappings().find(|mapping| mapping.contains(headers))?.path;
        let own = OsStr::from_bytes(own);
        if mappings().any(|mapping| mapping.name().starts_with(b"vgpreload_")) {
            return Some(Self::Valgrind(own.into()));
        }
        if fs::read_link(THIS).ok()? == own {
            return None;
        }
        let line = fs::read("/proc/self/cmdline").ok()?;
        let mut line: Vec<OsString> = line
            .strip_suffix(b"\0")?
            .split(|byte| *byte == 0)
            .map(|text| OsStr::from_bytes(text).into())
            .collect();
        // The loader's last argument is the program, which may have been given relative to a directory that
        // is no longer the current one.
        line.truncate((line.len() + 1).checked_sub(std::env::args_os().len())?);
        if Path::new(own).exists() {
            *line.last_mut()? = own.into();
        }
        Some(Self::Loader(line))
    }
}

/// A line of `/proc/self/maps`.
struct Mapping<'a> {
    start: usize,
    end: usize,
    path: &'a [u8],
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut rest = line;
        let mut field = || {
            let end = rest.iter().position(|byte| *byte == b' ');
            let (field, left) = rest.split_at(end.unwrap_or(rest.len()));
            rest = left.strip_prefix(b" ").unwrap_or(left);
            std::str::from_utf8(field).ok()
        };
        let range = field()?;
        let (_rights, _offset, _device, _inode) = (field()?, field()?, field()?, field()?);
        let (start, end) = range.split_once('-')?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            path: rest.trim_ascii_start(),
        })
    }

    /// Returns the file's name without its directory.
    fn name(&self) -> &'a [u8] {
        self.path
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }

    fn contains(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_with_a_path_that_has_spaces() {
        let line = b"7f00a000-7f00c000 r-xp 00001000 fe:01 4711      /opt/my app/bin";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.path, b"/opt/my app/bin");
        assert_eq!(mapping.name(), b"bin");
        assert!(mapping.contains(0x7f00_a000) && !mapping.contains(0x7f00_c000));
        assert!(Mapping::parse(b"").is_none());
    }

    #[test]
    fn this_program_is_run_by_the_kernel() {
        assert_eq!(RunBy::find(), RunBy::Kernel);
    }
}
