//! Writes the event log: one thread, which gets its records through a queue.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::line::Line;
use crate::api::events::{Record, Subscriber};
use crate::sys::{self, Mark, PerProcess, attributes};

/// The number of records that may wait. Beyond it, the threads that publish wait for the disk.
const BACKLOG: usize = 1 << 18;

/// The number of bytes that are written at once.
const BLOCK: usize = 64 * 1024;

/// Time that the end of the program waits for the log to be written.
const LAST: Duration = Duration::from_secs(10);

/// The logs of this process, by their paths.
static WRITERS: PerProcess<Mutex<BTreeMap<PathBuf, Arc<LogWriter>>>> = PerProcess::new();

/// Returns the log at a path, which all runtimes of a process share.
///
/// # Errors
///
/// If the file cannot be opened, or if there is no thread left.
pub(crate) fn at(path: &Path) -> io::Result<Arc<LogWriter>> {
    let writers = WRITERS.get_or_init(Mutex::default);
    let mut writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(writer) = writers.get(path) {
        return Ok(Arc::clone(writer));
    }
    let writer = LogWriter::start(path).map_err(|error| {
        let text = format!(
            "the event log {} cannot be written: {error}",
            path.display()
        );
        io::Error::new(error.kind(), text)
    })?;
    if writers.is_empty() {
        sys::at_exit(flush_at_exit);
    }
    writers.insert(path.to_owned(), Arc::clone(&writer));
    Ok(writer)
}

extern "C" fn flush_at_exit() {
    flush_all();
}

/// Waits until all events are in their files. Returns the files that could not be written, with the reasons.
pub(crate) fn flush_all() -> Vec<(PathBuf, Arc<io::Error>)> {
    let Some(writers) = WRITERS.get() else {
        return Vec::new();
    };
    let writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
    let flushed = |(path, writer): (&PathBuf, &Arc<LogWriter>)| {
        let error = writer.flush(LAST)?;
        Some((path.clone(), error))
    };
    writers.iter().filter_map(flushed).collect()
}

/// A log that is being written. It loses nothing: if the disk is slower than the calls, they wait for it.
pub(crate) struct LogWriter {
    queue: Mutex<Queue>,
    /// Signalled when there is something to write.
    filled: Condvar,
    /// Signalled when there is room again, and when everything is written.
    emptied: Condvar,
    mark: Mark,
}

#[derive(Default)]
struct Queue {
    records: VecDeque<Record>,
    /// True while the thread writes what it has taken.
    is_writing: bool,
    /// Set once writing has failed; the log ends there.
    failed: Option<Arc<io::Error>>,
}

impl LogWriter {
    /// Opens a file to append to, and starts the thread.
    pub(crate) fn start(path: &Path) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let writer = Arc::new(Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            mark: Mark::current(),
        });
        let this = Arc::clone(&writer);
        std::thread::Builder::new()
            .name("retry-events".to_owned())
            .spawn(move || {
                attributes::adopt();
                this.write(file);
            })?;
        Ok(writer)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes records as long as the process lives.
    fn write(&self, mut file: File) {
        let mut text = Vec::with_capacity(2 * BLOCK);
        let mut queue = self.lock();
        loop {
            while queue.records.is_empty() {
                queue.is_writing = false;
                self.emptied.notify_all();
                queue = self
                    .filled
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            queue.is_writing = true;
            let records = std::mem::take(&mut queue.records);
            drop(queue);
            self.emptied.notify_all();
            let written = write_all(&mut file, &mut text, records);
            queue = self.lock();
            if let Err(error) = written {
                queue.failed = Some(Arc::new(error));
                queue.records.clear();
                self.emptied.notify_all();
                return;
            }
        }
    }

    /// Waits until everything that was published is in the file, for at most `timeout`. Returns why writing has
    /// failed, if it has.
    pub(crate) fn flush(&self, timeout: Duration) -> Option<Arc<io::Error>> {
        // A forked child has no thread that would write.
        if !self.mark.is_current() {
            return None;
        }
        let until = Instant::now() + timeout;
        let mut queue = self.lock();
        while queue.failed.is_none() && (queue.is_writing || !queue.records.is_empty()) {
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.emptied.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.failed.clone()
    }
}

impl Subscriber for LogWriter {
    fn take_in(&self, record: &Record) -> bool {
        let mut queue = self.lock();
        while queue.records.len() >= BACKLOG && queue.failed.is_none() {
            queue = self
                .emptied
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if queue.failed.is_some() {
            return false;
        }
        queue.records.push_back(record.clone());
        let begins = queue.records.len() == 1 && !queue.is_writing;
        drop(queue);
        if begins {
            self.filled.notify_one();
        }
        true
    }
}

/// Writes whole lines, many at once.
fn write_all(file: &mut File, text: &mut Vec<u8>, records: VecDeque<Record>) -> io::Result<()> {
    text.clear();
    for record in records {
        serde_json::to_writer(&mut *text, &Line::new(&record.event, record.count))?;
        text.push(b'\n');
        if text.len() >= BLOCK {
            file.write_all(text)?;
            text.clear();
        }
    }
    file.write_all(text)
}
