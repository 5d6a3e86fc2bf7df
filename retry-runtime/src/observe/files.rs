//! The files that a run writes: all runtimes of a process share the feed of each, and they are complete when
//! the program ends.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::feed::Feed;
use crate::sys::{self, Mark, PerProcess};

/// Time that the end of the program waits for the files to be written.
const FILES_END_TIMEOUT: Duration = Duration::from_secs(10);

/// The same once a file was not complete in time: another wait would mostly be in vain.
const STUCK_END_TIMEOUT: Duration = Duration::from_millis(200);

/// The feeds of this process, by their files.
static FEEDS: PerProcess<Mutex<BTreeMap<File, Arc<Feed>>>> = PerProcess::new();

/// Held while a feed is started, which takes long if the file is a pipe that nothing reads. The end of the program does
/// not wait for it.
static STARTING: PerProcess<Mutex<()>> = PerProcess::new();

/// Set once a file was not complete in time.
static IS_STUCK: PerProcess<AtomicBool> = PerProcess::new();

/// The first process that has written a file which belongs to one run alone.
static FIRST: OnceLock<Mark> = OnceLock::new();

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Log,
    #[cfg(feature = "report")]
    Report,
    Trace,
}

/// A file that a run writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct File {
    kind: Kind,
    path: PathBuf,
}

/// The reason for which a file of a run cannot be written, with its name.
#[derive(Debug)]
pub(crate) struct Unwritable(String);

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unwritable {}

impl File {
    #[cfg(test)]
    pub(super) fn of(kind: Kind, path: &str) -> Self {
        let path = path.into();
        Self { kind, path }
    }

    /// Returns the title and the path, for the summary.
    pub(super) fn titled(&self) -> (&'static str, &Path) {
        let title = match self.kind {
            Kind::Log => "Events",
            #[cfg(feature = "report")]
            Kind::Report => "Report",
            Kind::Trace => "Trace",
        };
        (title, &self.path)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Log => "event log",
            #[cfg(feature = "report")]
            Kind::Report => "report",
            Kind::Trace => "trace",
        };
        write!(f, "{kind} {}", self.path.display())
    }
}

/// Returns the feed of a file, and starts it if this is the first runtime that writes to it.
///
/// # Errors
///
/// If `start` fails. The error is an [`Unwritable`], which names the file.
pub(super) fn shared(
    kind: Kind,
    path: &Path,
    start: impl FnOnce() -> io::Result<Arc<Feed>>,
) -> io::Result<Arc<Feed>> {
    let _starting = STARTING.get_or_init(Mutex::default).lock();
    let path = path.to_owned();
    let file = File { kind, path };
    if let Some(feed) = feeds().get(&file) {
        return Ok(Arc::clone(feed));
    }
    let refuse = |error: &dyn fmt::Display, kind| {
        let text = format!("the {file} cannot be written: {error}");
        io::Error::new(kind, Unwritable(text))
    };
    let is_taken = |other: &&File| is_same(&other.path, &file.path) && !is_special(&file.path);
    if let Some(other) = feeds().keys().find(is_taken) {
        let reason = format!("it would destroy the {other}: give it a path of its own");
        return Err(refuse(&reason, io::ErrorKind::InvalidInput));
    }
    let feed = start().map_err(|error| refuse(&error, error.kind()))?;
    let mut feeds = feeds();
    if feeds.is_empty() {
        sys::at_exit(flush_at_exit);
    }
    feeds.insert(file, Arc::clone(&feed));
    Ok(feed)
}

fn feeds() -> MutexGuard<'static, BTreeMap<File, Arc<Feed>>> {
    let feeds = FEEDS.get_or_init(Mutex::default);
    feeds.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether two paths lead to the same file, by whatever names.
fn is_same(one: &Path, other: &Path) -> bool {
    let both = (one.canonicalize(), other.canonicalize());
    one == other || matches!(both, (Ok(one), Ok(other)) if one == other)
}

/// Returns whether a path leads to a pipe or a device, which keeps nothing that could be destroyed.
pub(super) fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

/// Returns whether this process was forked from one that writes a file which belongs to its run alone. The
/// child would replace it.
pub(super) fn belong_to_parent() -> bool {
    !FIRST.get_or_init(Mark::current).is_current()
}

/// Creates a file that one program alone can write.
///
/// # Errors
///
/// If another program is writing it, or if the operating system refuses it.
pub(super) fn create(path: &Path) -> io::Result<fs::File> {
    // The file of the other program must not lose what it has.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    // A file system may have no locks.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let reason = "another program is writing it: give each a path of its own";
        return Err(io::Error::new(io::ErrorKind::WouldBlock, reason));
    }
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Returns an error if a file was removed or replaced while it was written.
pub(super) fn check_kept(file: &fs::File) -> io::Result<()> {
    #[cfg(unix)]
    if file.metadata()?.nlink() == 0 {
        return Err(io::Error::other(
            "it was removed while it was being written",
        ));
    }
    Ok(())
}

extern "C" fn flush_at_exit() {
    flush_all();
}

/// Waits until all events are in their files. Returns the files, each with the reason if it could not be written.
pub(crate) fn flush_all() -> Vec<(File, Option<Arc<io::Error>>)> {
    if FEEDS.get().is_none() {
        return Vec::new();
    }
    let feeds = feeds().clone();
    let stuck = IS_STUCK.get_or_init(AtomicBool::default);
    let flushed = |(file, feed): (File, Arc<Feed>)| {
        let timeout = match stuck.load(Ordering::Relaxed) {
            true => STUCK_END_TIMEOUT,
            false => FILES_END_TIMEOUT,
        };
        let error = feed.flush(timeout);
        let is_late = |error: &Arc<io::Error>| error.kind() == io::ErrorKind::TimedOut;
        stuck.fetch_or(error.as_ref().is_some_and(is_late), Ordering::Relaxed);
        (file, error)
    };
    feeds.into_iter().map(flushed).collect()
}
