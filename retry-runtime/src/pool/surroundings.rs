//! What a process inherits, or finds, when it is started.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::Config;

/// The lines of `/proc/thread-self/status` about what is inherited.
const INHERITED: [&str; 8] = [
    "Umask:",
    "Uid:",
    "Gid:",
    "Groups:",
    "SigIgn:",
    "Cap",
    "NoNewPrivs:",
    "Seccomp:",
];

/// What a worker of this program would see that is started now. A process that was started before
/// may only take its place if it sees the same.
#[derive(PartialEq, Eq)]
pub(super) struct Surroundings {
    environment: Vec<(OsString, OsString)>,
    /// Device and number, which stay the same where a directory is renamed or deleted.
    directory: Option<(u64, u64)>,
    /// The same of the program and when it was written, where it is another one than this.
    program: Option<(u64, u64, i64, i64)>,
    inherited: Vec<String>,
    limits: Option<String>,
}

impl Surroundings {
    /// Those of this moment. Called by the thread that starts processes.
    pub(super) fn now(config: &Config) -> Self {
        let directory = config.directory.as_deref().unwrap_or(Path::new("."));
        let program = config.program.as_deref();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let is_inherited = |line: &&str| INHERITED.iter().any(|key| line.starts_with(key));
        Self {
            environment: std::env::vars_os().collect(),
            directory: fs::metadata(directory)
                .map(|found| (found.dev(), found.ino()))
                .ok(),
            program: program
                .and_then(|program| fs::metadata(program).ok())
                .map(|found| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())),
            inherited: status
                .lines()
                .filter(is_inherited)
                .map(str::to_owned)
                .collect(),
            limits: fs::read_to_string("/proc/self/limits").ok(),
        }
    }
}
