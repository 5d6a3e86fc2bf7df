//! Writes the event log: if the disk is slower than the calls, they wait for it, so that nothing is lost.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::feed::{Consume, Feed};
use super::line::Line;
use crate::api::events::{Interest, Record};
use crate::sys::{self, PerProcess};

/// The number of bytes that are written at once.
const BLOCK: usize = 64 * 1024;

/// Time that the end of the program waits for the log to be written.
const LAST: Duration = Duration::from_secs(10);

/// The logs of this process, by their paths.
static WRITERS: PerProcess<Mutex<BTreeMap<PathBuf, Arc<Feed>>>> = PerProcess::new();

/// Returns the log at a path, which all runtimes of a process share.
///
/// # Errors
///
/// If the file cannot be opened, or if there is no thread left.
pub(crate) fn at(path: &Path) -> io::Result<Arc<Feed>> {
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
    let flushed = |(path, writer): (&PathBuf, &Arc<Feed>)| {
        let error = writer.flush(LAST)?;
        Some((path.clone(), error))
    };
    writers.iter().filter_map(flushed).collect()
}

/// Appends records to a file.
struct LogWriter {
    file: File,
    text: Vec<u8>,
}

impl LogWriter {
    fn start(path: &Path) -> io::Result<Arc<Feed>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let text = Vec::with_capacity(2 * BLOCK);
        let writer = Box::new(Self { file, text });
        Feed::start("retry-events", Interest::Everything, writer)
    }
}

impl Consume for LogWriter {
    /// Writes whole lines, many at once.
    fn take_in(&mut self, records: VecDeque<Record>) -> io::Result<()> {
        self.text.clear();
        for record in records {
            serde_json::to_writer(&mut self.text, &Line::new(&record.event, record.count))?;
            self.text.push(b'\n');
            if self.text.len() >= BLOCK {
                self.file.write_all(&self.text)?;
                self.text.clear();
            }
        }
        self.file.write_all(&self.text)
    }
}
