//! Writes the event log: if the disk is slower than the calls, they wait for it, so that nothing is lost.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::feed::{Consume, Feed};
use super::files::{self, Kind};
use super::line::Line;
use crate::api::events::{Interest, Record};

/// The number of bytes that are written at once.
const BLOCK: usize = 64 * 1024;

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
