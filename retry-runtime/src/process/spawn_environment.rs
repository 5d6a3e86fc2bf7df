//! Everything that a process inherits, or finds, when it is started.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::process::{Pid, Resource, getrlimit};

use crate::config::Config;
use crate::sys::attributes::Attributes;
use crate::sys::children;

/// The resources whose limits a child inherits.
const LIMITS: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

/// The soft limit and the hard limit.
type Limit = (Option<u64>, Option<u64>);

/// The lines of `/proc/self/status` about inherited attributes.
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

/// Everything that a worker of this program would see if it were started now. A process that was started
/// earlier may take its place only if it sees the same.
#[derive(PartialEq, Eq)]
pub(super) struct SpawnEnvironment {
    environment: Vec<(OsString, OsString)>,
    /// Device and inode number, which stay the same when the directory is renamed or deleted.
    directory: Option<(u64, u64)>,
    /// Device, inode number and modification time of the workers' program, if it is not this one.
    program: Option<(u64, u64, i64, i64)>,
    inherited: Vec<String>,
    attributes: Box<Attributes>,
    limits: Box<[Limit]>,
}

impl SpawnEnvironment {
    /// Captures the environment of this moment, as seen by the thread that starts processes.
    pub(super) fn now(config: &Config, thread: Pid) -> Self {
        let thread = format!("/proc/self/task/{thread}");
        let directory = match &config.directory {
            Some(directory) => directory.clone(),
            None => Path::new(&thread).join("cwd"),
        };
        let program = config.program.as_deref();
        let status = children::read(&format!("{thread}/status"));
        let is_inherited = |line: &&str| INHERITED.iter().any(|key| line.starts_with(key));
        Self {
            environment: std::env::vars_os().collect(),
            directory: identity(&directory),
            program: program
                .and_then(|program| fs::metadata(program).ok())
                .map(|found| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())),
            inherited: status
                .lines()
                .filter(is_inherited)
                .map(str::to_owned)
                .collect(),
            attributes: Box::new(Attributes::of_process()),
            limits: Box::new(LIMITS.map(|limit| {
                let limit = getrlimit(limit);
                (limit.current, limit.maximum)
            })),
        }
    }
}

/// Returns the device and inode number of a directory, as far as they are known without querying another
/// machine.
fn identity(directory: &Path) -> Option<(u64, u64)> {
    let flags = AtFlags::STATX_DONT_SYNC;
    let found = rustix::fs::statx(CWD, directory, flags, StatxFlags::INO).ok()?;
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    Some((device, found.stx_ino))
}
