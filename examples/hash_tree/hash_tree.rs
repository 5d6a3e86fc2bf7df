//! Hashes every file below a directory in worker processes, one input per file.
//!
//! `cargo run --release --package retry-example-hash-tree --example hash_tree -- --root <dir>`
//!
//! Prints the same lines as `sha256sum`. With `--crash <name>` the worker dies on files of that name, as a
//! parser of hostile input might: all other lines are still printed. With `--skip <name>` directories of that
//! name are skipped.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use retry_runtime::{CallError, function, local_entrypoint};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The reasons why a file has no hash.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum HashError {
    #[error("it vanished")]
    Vanished,
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl From<io::Error> for HashError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Vanished,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

// A path need not be UTF-8, but serde requires UTF-8 for `Path`; `OsString` is sent unchanged.
#[function(retry_if = may_pass)]
fn hash(path: OsString, crash: Vec<OsString>) -> Result<String, HashError> {
    let path = Path::new(&path);
    if path
        .file_name()
        .is_some_and(|name| crash.iter().any(|crash| crash == name))
    {
        eprintln!("hash_tree: told to crash on {}", path.display());
        std::process::abort();
    }
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(HashError::NotRegular);
    }
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Returns whether a retry can help: a file that vanished will not come back.
fn may_pass(error: &HashError) -> bool {
    matches!(error, HashError::Unreadable(_))
}

/// Prints one line in one write: output of workers is passed on between any two writes.
fn complain(what: &dyn std::fmt::Display) {
    let line = format!("hash_tree: {what}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Hash every file below a directory, as sha256sum does.
#[local_entrypoint]
pub(crate) fn main(
    /// The directory.
    root: PathBuf,
    /// Crash the worker on files of this name; may be given several times.
    crash: Vec<OsString>,
    /// Leave out directories of this name; may be given several times.
    skip: Vec<OsString>,
) -> io::Result<ExitCode> {
    let mut paths = Vec::new();
    let mut failures = 0;
    let walk = walkdir::WalkDir::new(&root).sort_by_file_name();
    let kept = walk.into_iter().filter_entry(|entry| {
        // Always enter the root itself, whatever its name.
        entry.depth() == 0
            || !entry.file_type().is_dir()
            || !skip.iter().any(|name| name == entry.file_name())
    });
    for entry in kept {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => paths.push(entry.into_path()),
            Err(error) => {
                complain(&error);
                failures += 1;
            }
        }
    }
    let inputs = paths
        .iter()
        .map(|path| (path.clone().into_os_string(), crash.clone()));
    let mut out = io::stdout().lock();
    for (path, result) in paths.iter().zip(hash.map(inputs)) {
        match result {
            Ok(digest) => {
                write!(out, "{digest}  ")?;
                out.write_all(path.as_os_str().as_bytes())?;
                writeln!(out)?;
                continue;
            }
            Err(CallError::Function(error, _)) => {
                complain(&format_args!("{}: {error}", path.display()));
            }
            Err(CallError::Crashed(crash, context)) => complain(&format_args!(
                "{}: crashed {} times: {crash}",
                path.display(),
                context.attempts().len()
            )),
            Err(error) => complain(&format_args!("{}: {error}", path.display())),
        }
        failures += 1;
    }
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
