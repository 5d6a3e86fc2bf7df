//! Ledgers: files in which functions record their executions.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file to which each execution of a function appends a line before it does anything else.
pub struct Ledger {
    directory: tempfile::TempDir,
}

/// One execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The input that was executed.
    pub input: u64,
    /// The number of the attempt, as reported to the function.
    pub attempt: u32,
    /// The process that executed it.
    pub pid: u32,
}

impl Ledger {
    /// Creates an empty ledger.
    ///
    /// # Panics
    ///
    /// If the temporary directory cannot be written to.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a file")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("ledger"), "").expect("a file in it");
        Self { directory }
    }

    /// Returns the path to pass to functions.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    /// Returns all executions in the order in which they began.
    ///
    /// # Panics
    ///
    /// If the ledger cannot be read or parsed.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let text = std::fs::read_to_string(self.path()).expect("the ledger");
        let entry = |line: &str| {
            let mut fields = line.split(' ');
            Some(Entry {
                input: fields.next()?.parse().ok()?,
                attempt: fields.next()?.parse().ok()?,
                pid: fields.next()?.parse().ok()?,
            })
        };
        text.lines()
            .map(|line| entry(line).unwrap_or_else(|| panic!("a garbled ledger: {line:?}")))
            .collect()
    }

    /// Returns how often each input was executed.
    ///
    /// # Panics
    ///
    /// If the ledger cannot be read or parsed.
    #[must_use]
    pub fn executions(&self) -> BTreeMap<u64, u32> {
        let mut executions = BTreeMap::new();
        for entry in self.entries() {
            *executions.entry(entry.input).or_default() += 1;
        }
        executions
    }

    /// Returns the number of executions.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.executions().values().sum()
    }
}

/// Records an execution in a ledger: one line in one write, so that concurrent lines cannot mix.
///
/// # Panics
///
/// If the ledger cannot be written to.
pub fn record(ledger: &Path, input: u64) {
    let attempt = retry_runtime::current().map_or(0, |call| call.attempt());
    let line = format!("{input} {attempt} {}\n", std::process::id());
    OpenOptions::new()
        .append(true)
        .open(ledger)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the ledger can be written to");
}
