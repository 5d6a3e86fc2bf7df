//! The ledger: files to which each execution appends a record before and after its action.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::job::{Job, Token};
use crate::system;

/// The variable that names the directory of the ledger. It is set in the run and its workers.
pub const DIRECTORY: &str = "SOAK_DIRECTORY";

pub fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

fn path(epoch: u16) -> PathBuf {
    directory()
        .unwrap_or_default()
        .join(format!("ledger-{epoch}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The function was entered.
    Started,
    /// The function is about to return its answer.
    Ended,
    /// The function is about to end its own process, or to exceed its memory limit.
    Dies,
}

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub token: Token,
    /// The time on the monotonic clock.
    pub nanos: u64,
    pub pid: u32,
    pub place: u32,
    pub attempt: u32,
    pub mark: Mark,
}

const SIZE: usize = 32;

impl Record {
    fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.token.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.nanos.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.pid.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.place.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[28] = match self.mark {
            Mark::Started => b'S',
            Mark::Ended => b'E',
            Mark::Dies => b'D',
        };
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            token: Token(long(0)?),
            nanos: long(8)?,
            pid: short(16)?,
            place: short(20)?,
            attempt: short(24)?,
            mark: match bytes.get(28)? {
                b'S' => Mark::Started,
                b'E' => Mark::Ended,
                b'D' => Mark::Dies,
                _ => return None,
            },
        })
    }
}

/// The file of the epoch that was last written to.
static FILE: Mutex<Option<(u16, File)>> = Mutex::new(None);

/// Appends a record about the call that this thread executes.
pub fn note(job: &Job, mark: Mark) {
    let attempt = retry_runtime::current().map_or(0, |call| call.attempt());
    let record = Record {
        token: job.token,
        nanos: system::now(),
        pid: std::process::id(),
        place: job.place,
        attempt,
        mark,
    };
    let epoch = job.token.epoch();
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    if file.as_ref().is_none_or(|(open, _)| *open != epoch) {
        let opened = File::options().create(true).append(true).open(path(epoch));
        *file = Some((epoch, opened.expect("the ledger can be opened")));
    }
    let (_, file) = file.as_mut().expect("it was just set");
    // A single `write`, which the kernel does not interleave with those of other processes.
    file.write_all(&record.to_bytes())
        .expect("the ledger can be written to");
}

/// Reads the records of an epoch.
pub fn read(epoch: u16) -> io::Result<Vec<Record>> {
    let bytes = match std::fs::read(path(epoch)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let records: Option<Vec<Record>> = bytes.chunks(SIZE).map(Record::from_bytes).collect();
    records.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a torn record"))
}

pub fn remove(epoch: u16) {
    let _ = std::fs::remove_file(path(epoch));
}
