//! Which program workers are, and how it is started.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use crate::config::Config;
use crate::entry;
use crate::sys::{self, Program};

/// The program that is running, also where its file has been replaced or deleted.
const THIS: &str = "/proc/self/exe";

/// The program of the workers, with its arguments.
pub(super) fn of_workers(config: &Config) -> io::Result<Program> {
    let entry = entry::worker_arguments()
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

/// This program once more, and what comes before the arguments for it.
fn this(name: Option<OsString>) -> io::Result<(OsString, Vec<OsString>)> {
    if fs::symlink_metadata(THIS).is_err() {
        // Without `/proc` there is only the path that the program was started by.
        let path = rustix::param::linux_execfn().to_bytes();
        if path.is_empty() {
            return Err(io::Error::other(
                "the path of this program is not known without /proc",
            ));
        }
        let path = OsString::from_vec(path.to_vec());
        return Ok((path.clone(), vec![name.unwrap_or(path)]));
    }
    static LOADER: OnceLock<Option<Vec<OsString>>> = OnceLock::new();
    let loader = LOADER.get_or_init(|| loader(std::env::args_os().len()));
    let arguments = match loader {
        Some(loader) => loader.clone(),
        None => vec![name.unwrap_or_else(|| THIS.into())],
    };
    Ok((THIS.into(), arguments))
}

/// What comes before the program's own arguments on the command line of a dynamic loader, if that was
/// started to run this program (`ld.so --library-path lib ./app`). `/proc/self/exe` is the loader then.
fn loader(arguments: usize) -> Option<Vec<OsString>> {
    let (headers, loaded_by_kernel) = sys::program_headers();
    if loaded_by_kernel {
        return None;
    }
    // Linked statically, or run by a loader: that has another file.
    let maps = fs::read("/proc/self/maps").ok()?;
    let mapping = maps
        .split(|byte| *byte == b'\n')
        .find_map(|line| Mapping::parse(line).filter(|mapping| mapping.contains(headers)))?;
    let exe = fs::metadata(THIS).ok()?;
    if mapping.inode == exe.ino() {
        return None;
    }
    let line = fs::read("/proc/self/cmdline").ok()?;
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    let mut line: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    // The program's own name is the loader's last argument.
    line.truncate((line.len() + 1).checked_sub(arguments)?);
    // The directory may have been changed.
    if Path::new(std::ffi::OsStr::from_bytes(mapping.path)).exists() {
        *line.last_mut()? = mapping.path;
    }
    Some(
        line.into_iter()
            .map(|text| OsString::from_vec(text.to_vec()))
            .collect(),
    )
}

/// A line of `/proc/self/maps`.
struct Mapping<'a> {
    start: usize,
    end: usize,
    inode: u64,
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
        let (range, _rights, _offset, _device, inode) =
            (field()?, field()?, field()?, field()?, field()?);
        let (start, end) = range.split_once('-')?;
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            inode: inode.parse().ok()?,
            path: rest.trim_ascii_start(),
        })
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
        assert_eq!(mapping.inode, 4711);
        assert_eq!(mapping.path, b"/opt/my app/bin");
        assert!(mapping.contains(0x7f00_a000) && !mapping.contains(0x7f00_c000));
        assert!(Mapping::parse(b"").is_none());
    }

    #[test]
    fn this_program_was_not_started_by_a_loader() {
        assert_eq!(loader(std::env::args_os().len()), None);
    }
}
