//! Reads event logs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::feed::Consume;
use super::line::Line;
use crate::api::events::{Event, Record, RecordEvents};
use crate::api::run::RunId;

/// The number of records that are replayed at once.
const BATCH: usize = 4096;

/// An event log that a run has written because of `RETRY_EVENTS`, or is still writing: an iterator over its
/// events.
///
/// A file contains the runs that were told to write to it, one after the other or at the same time;
/// [`Event::run`] tells them apart. Lines that were not written to their end, because the program was killed or
/// the disk was full, and lines about kinds of events that this release does not know, are skipped.
///
/// At the end of the file the iterator returns `None`. If it is asked again, it goes on with what was written since.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("log-{}.jsonl", std::process::id()));
/// # std::fs::write(&path, r#"{"v":1,"run":"1NE2J9ZK4PQXG","host":"a","time":1764425191.5,"elapsed":0.5,"event":"finished","function":"app::resize","call":7,"outcome":"failed","reason":"no such file"}
/// # "#)?;
/// use retry_runtime::events::{EventKind, Log};
///
/// for event in Log::open(&path)? {
///     let event = event?;
///     if let EventKind::Finished { reason: Some(reason), .. } = &event.kind {
///         println!("{}: {reason}", event.function);
/// #       assert_eq!(&**reason, "no such file");
///     }
/// }
/// # std::fs::remove_file(path)
/// # }
/// ```
#[derive(Debug)]
pub struct Log {
    file: BufReader<File>,
    /// The number of the last line that was read, counted from 1.
    number: u64,
    /// The rest of the events of the line that was read.
    rest: Option<RecordEvents>,
    /// The beginning of a line that is being written.
    begun: Vec<u8>,
}

impl Log {
    /// Opens a log.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if the file cannot be opened. The iterator returns an error for a
    /// line that cannot be read or is not an event of the known format, with the number of the line.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            file: BufReader::new(File::open(path)?),
            number: 0,
            rest: None,
            begun: Vec::new(),
        })
    }

    /// Returns the next line that was written to its end.
    fn next_record(&mut self) -> Option<io::Result<Record>> {
        loop {
            match self.file.read_until(b'\n', &mut self.begun) {
                Ok(_) if self.begun.last() == Some(&b'\n') => {}
                Ok(_) => return None,
                Err(error) => return Some(Err(error)),
            }
            let line = std::mem::take(&mut self.begun);
            self.number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let record = match serde_json::from_slice::<Line>(line.trim_ascii()) {
                // It was cut off, and a later run has begun a new one.
                Err(error) if error.is_eof() => continue,
                Err(error) => Err(error.to_string()),
                Ok(line) => line.into_record(),
            };
            match record {
                Ok(Some(record)) => return Some(Ok(record)),
                Ok(None) => {}
                Err(problem) => {
                    let text = format!("line {} is no event: {problem}", self.number);
                    return Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
            }
        }
    }
}

/// Feeds the records of the latest run in a log to a consumer that `begin` makes, and completes it. A later run
/// than those before takes a new consumer.
pub(super) fn replay<C: Consume>(
    path: &Path,
    mut begin: impl FnMut() -> io::Result<C>,
) -> io::Result<C> {
    let mut log = Log::open(path)?;
    let mut latest: Option<(RunId, C)> = None;
    let mut batch = VecDeque::new();
    while let Some(record) = log.next_record() {
        let record = record?;
        let run = record.event.run;
        if latest.as_ref().is_none_or(|(known, _)| *known < run) {
            latest = Some((run, begin()?));
            batch.clear();
        }
        if let Some((known, consumer)) = &mut latest
            && *known == run
        {
            batch.push_back(record);
            if batch.len() == BATCH {
                consumer.take_in(std::mem::take(&mut batch))?;
            }
        }
    }
    let (_, mut consumer) = latest.ok_or_else(|| {
        let text = format!("{} has no events", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    consumer.take_in(batch)?;
    consumer.complete()?;
    Ok(consumer)
}

impl Iterator for Log {
    type Item = io::Result<Event>;

    fn next(&mut self) -> Option<io::Result<Event>> {
        if let Some(event) = self.rest.as_mut().and_then(Iterator::next) {
            return Some(Ok(event));
        }
        match self.next_record()? {
            Ok(record) => self.rest.insert(record.events()).next().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
