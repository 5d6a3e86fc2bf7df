//! What the tests share: the fixture, and ledgers in which functions write down that they ran.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file in which each execution of a function leaves a line, before it does anything else.
pub struct Ledger {
    directory: tempfile::TempDir,
}

impl Ledger {
    /// An empty ledger.
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

    /// What functions are given.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("ledger")
    }

    /// How often each input was executed.
    ///
    /// # Panics
    ///
    /// If the ledger is gone or garbled.
    #[must_use]
    pub fn executions(&self) -> BTreeMap<u64, u32> {
        let mut executions = BTreeMap::new();
        let text = std::fs::read_to_string(self.path()).expect("the ledger");
        for line in text.lines() {
            let input = line.split(' ').next().and_then(|input| input.parse().ok());
            *executions.entry(input.expect("an input")).or_default() += 1;
        }
        executions
    }

    /// How many executions there were.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.executions().values().sum()
    }
}

/// Writes an execution into a ledger: one line in one write, so that no two can mix.
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

/// The processes of this machine whose directory in `/proc` is one that `wanted` wants.
fn processes(wanted: impl Fn(&Path) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            wanted(&entry.path()).then_some(pid)
        })
        .collect()
}

/// All processes, zombies aside, that have `token` in their environment.
#[must_use]
pub fn processes_with(token: &str) -> Vec<i32> {
    processes(|process| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == token.as_bytes())
    })
}

/// The children of this process that have ended and were not waited for.
#[must_use]
pub fn zombies() -> Vec<i32> {
    let parent = std::process::id().to_string();
    processes(|process| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&parent.as_str())
    })
}

/// Waits until something holds.
///
/// # Panics
///
/// If it does not within `limit`.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a test of the runtime and checks what must hold after each: `serves` still answers, and
/// no process was left unreaped. A test that hangs is ended.
///
/// # Panics
///
/// If it does not hold.
pub fn fixture(limit: Duration, serves: impl FnOnce() -> bool, test: impl FnOnce()) {
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if finished.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs: a call was not resolved within {limit:?}");
            std::process::abort();
        }
    });
    test();
    assert!(serves(), "the pool does not serve any more");
    eventually("no zombies", Duration::from_secs(2), || {
        zombies().is_empty()
    });
    drop(done);
}
