//! Writes the event log: if the disk is slower than the calls, they wait for it, so that nothing is lost.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::feed::{Consume, Feed};
use super::files::{self, Kind};
use super::line::Line;
use crate::api::events::{Interest, Record};

/// The number of bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// The time after which a line that another program is writing is complete.
const WRITING: Duration = Duration::from_millis(20);

/// Returns the log at a path, which all runtimes of a process share.
///
/// # Errors
///
/// If the file cannot be opened, or if there is no thread left.
pub(crate) fn at(path: &Path) -> io::Result<Arc<Feed>> {
    files::shared(Kind::Log, path, || LogWriter::start(path))
}

/// Appends records to a file.
struct LogWriter {
    file: File,
    text: Vec<u8>,
}

impl LogWriter {
    fn start(path: &Path) -> io::Result<Arc<Feed>> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if ends_in_a_line(path) {
            file.write_all(b"\n")?;
        }
        let text = Vec::with_capacity(2 * WRITE_BYTES);
        let writer = Box::new(Self { file, text });
        Feed::start("retry-events", Interest::Everything, writer)
    }
}

/// Returns whether a run before this one was ended, by a full disk or a signal, while it was writing a line.
fn ends_in_a_line(path: &Path) -> bool {
    let Some(length) = cut_off_at(path) else {
        return false;
    };
    // Another program may be writing just now.
    thread::sleep(WRITING);
    cut_off_at(path) == Some(length)
}

/// Returns the length of a log that ends in the middle of a line. A log that cannot be read can be written
/// nevertheless.
fn cut_off_at(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return None;
    }
    let mut last = [0];
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(metadata.len() - 1)).ok()?;
    file.read_exact(&mut last).ok()?;
    (last != *b"\n").then_some(metadata.len())
}

impl Consume for LogWriter {
    /// Writes whole lines, many at once.
    fn take_in(&mut self, records: VecDeque<Record>) -> io::Result<()> {
        self.text.clear();
        for record in records {
            serde_json::to_writer(&mut self.text, &Line::new(&record.event, record.count))?;
            self.text.push(b'\n');
            if self.text.len() >= WRITE_BYTES {
                self.file.write_all(&self.text)?;
                self.text.clear();
            }
        }
        self.file.write_all(&self.text)
    }

    fn complete(&mut self) -> io::Result<()> {
        files::check_kept(&self.file)
    }
}
