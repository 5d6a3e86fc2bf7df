//! The database of a checkpoint, and the thread that writes to it.
//!
//! A file is open at most once in a process: the maps of the process that name it share it. It is closed,
//! and everything is on disk, when the last of them ends.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadOnlyTable, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, WriteTransaction,
};

use super::Signature;
use super::batch::{self, Batch, Waiting};
use crate::sys::{Mark, PerProcess};

/// The format of the tables and of what is in them. It has to be raised when the encoding of values changes.
const FORMAT: u32 = 2;

const FORMATS: TableDefinition<'_, &str, u32> = TableDefinition::new("retry-runtime checkpoint");
/// The number, version, types and digest of each function, by its name.
const FUNCTIONS: TableDefinition<'_, &str, FunctionRow<'_>> = TableDefinition::new("functions");
/// The number of results of each function.
const COUNTS: TableDefinition<'_, u32, u64> = TableDefinition::new("counts");
const RESULTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("results");

type FunctionRow<'a> = (u32, Option<&'a str>, &'a str, u64);

/// Bytes of the database that are kept in memory.
const CACHE: usize = 32 * 1024 * 1024;

/// The databases that this process has open, by their paths.
static OPEN: PerProcess<Mutex<HashMap<PathBuf, Arc<Store>>>> = PerProcess::new();

fn open_stores() -> MutexGuard<'static, HashMap<PathBuf, Arc<Store>>> {
    let open = OPEN.get_or_init(Mutex::default);
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open database, with its writer.
struct Store {
    database: Arc<Database>,
    /// The path as the user wrote it, for messages.
    name: PathBuf,
    /// The key in [`OPEN`].
    path: PathBuf,
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

/// A map's share of an open database. Dropping it waits until the map's results are on disk, or cannot be
/// stored.
pub(super) struct Handle {
    /// `None` only while it is dropped.
    store: Option<Arc<Store>>,
    /// The process that has opened it.
    mark: Mark,
}

/// The state of a database at one moment.
pub(super) struct Snapshot {
    results: ReadOnlyTable<&'static [u8], &'static [u8]>,
    name: PathBuf,
}

impl Snapshot {
    /// Returns the value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, String> {
        let get = || match self.results.get(key) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => match batch::checked(key, found.value()) {
                Some(value) => Ok(Some(Bytes::copy_from_slice(value))),
                None => Err(damaged(&self.name)),
            },
            Err(error) => Err(unreadable(&self.name, &error.into())),
        };
        sound(&self.name, get)
    }
}

impl Handle {
    /// Opens the database at a path, which is created if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let full = full_path(path)?;
        let mut open = open_stores();
        let store = match open.get(&full) {
            Some(store) => Arc::clone(store),
            None => {
                let store = sound(path, || Store::open(path, full.clone()))?;
                let store = Arc::new(store);
                open.insert(full, Arc::clone(&store));
                store
            }
        };
        Ok(Self {
            store: Some(store),
            mark: Mark::current(),
        })
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is not being dropped")
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.store().queue
    }

    /// Returns that the file does not exist any more, if that is so: results are stored where nothing finds them.
    pub(super) fn removal(&self) -> Option<String> {
        let Store { path, name, .. } = self.store();
        let text = || {
            let name = name.display();
            format!("the checkpoint {name} was removed while it was in use: its results are lost")
        };
        (!path.exists()).then(text)
    }

    /// Returns why results can no longer be stored, if they cannot.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.queue().lock().failure.clone()
    }

    /// Registers a function. Returns its number, and how many results of it there are.
    ///
    /// # Errors
    ///
    /// If there are results of another version of it.
    pub(super) fn register(
        &self,
        function: &str,
        version: Option<&str>,
        signature: &Signature,
    ) -> Result<(u32, u64), String> {
        let store = self.store();
        let register = || Ok(register(&store.database, function, version, signature));
        match sound(&store.name, register)? {
            Ok(Ok(registered)) => Ok(registered),
            Ok(Err(difference)) => Err(format!(
                "the checkpoint {} holds results of `{function}` {difference}; to run everything again, \
                 delete the file or name another one",
                store.name.display()
            )),
            Err(error) => Err(unwritable(&store.name, &error)),
        }
    }

    /// Returns the state of the database at this moment.
    pub(super) fn snapshot(&self) -> Result<Snapshot, String> {
        let Store { database, name, .. } = self.store();
        sound(name, || {
            let results = database
                .begin_read()
                .map_err(redb::Error::from)
                .and_then(|read| Ok(read.open_table(RESULTS)?));
            Ok(Snapshot {
                results: results.map_err(|error| unreadable(name, &error))?,
                name: name.clone(),
            })
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let store = self.store.take();
        // In a forked child the writer does not exist, and its locks may be held for ever.
        if !self.mark.is_current() {
            std::mem::forget(store);
            return;
        }
        let Some(store) = store else {
            return;
        };
        store.queue.flush();
        // The lock keeps other maps from opening the file before it is closed.
        let mut open = open_stores();
        // One reference is in the table, and one is here.
        if Arc::strong_count(&store) == 2 {
            open.remove(&store.path);
        }
        drop(store);
        drop(open);
    }
}

/// Returns the absolute path of a file that may not exist, without symbolic links.
fn full_path(path: &Path) -> Result<PathBuf, String> {
    let resolve = || match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let path = std::path::absolute(path)?;
            match (path.parent(), path.file_name()) {
                (Some(directory), Some(name)) => Ok(directory.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
        resolved => resolved,
    };
    resolve().map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::NotFound => "its directory does not exist; create it first".to_owned(),
            _ => error.to_string(),
        };
        format!(
            "the checkpoint {} cannot be opened: {reason}",
            path.display()
        )
    })
}

impl Store {
    fn open(name: &Path, path: PathBuf) -> Result<Self, String> {
        let fail = |reason: String| {
            let name = name.display();
            format!("the checkpoint {name} cannot be opened: {reason}")
        };
        if !path.exists() {
            create(&path).map_err(|error| fail(reason(&error)))?;
        }
        let database = builder()
            .open(&path)
            .map_err(|error| fail(reason(&error.into())))?;
        check_format(&database).map_err(fail)?;
        let (database, queue) = (Arc::new(database), Arc::new(Queue::default()));
        let writer = Writer {
            database: Arc::clone(&database),
            queue: Arc::clone(&queue),
            name: name.to_owned(),
        };
        let writer = thread::Builder::new()
            .name("retry-checkpoint".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self {
            database,
            name: name.to_owned(),
            path,
            queue,
            writer: Some(writer),
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// Creates a database under another name and moves it to its place, so that the file is complete whenever it
/// exists, even if the program is killed meanwhile.
fn create(path: &Path) -> Result<(), redb::Error> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let database = match builder().create(&draft) {
        // A program was killed while it created this.
        Err(DatabaseError::Storage(StorageError::Io(error)))
            if error.kind() == ErrorKind::InvalidData =>
        {
            fs::remove_file(&draft)?;
            builder().create(&draft)?
        }
        database => database?,
    };
    // The lock on the draft is held from here on, so that another process cannot create the file as well. It
    // may have done so before.
    if path.exists() {
        return Ok(fs::remove_file(&draft)?);
    }
    let write = database.begin_write()?;
    write.open_table(FORMATS)?.insert("format", FORMAT)?;
    write.open_table(FUNCTIONS)?;
    write.open_table(COUNTS)?;
    write.open_table(RESULTS)?;
    write.commit()?;
    Ok(fs::rename(&draft, path)?)
}

/// Checks that a database is a checkpoint, in a format that is known.
fn check_format(database: &Database) -> Result<(), String> {
    let read = || -> Result<Option<u32>, redb::Error> {
        match database.begin_read()?.open_table(FORMATS) {
            Ok(formats) => Ok(formats.get("format")?.map(|format| format.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    match read() {
        Ok(Some(FORMAT)) => Ok(()),
        Ok(Some(other)) => Err(format!(
            "it has format {other}, and this version of retry-runtime reads format {FORMAT}; delete it or \
             name another file"
        )),
        Ok(None) => Err(NOT_OURS.to_owned()),
        Err(error) => Err(reason(&error)),
    }
}

const NOT_OURS: &str = "the file exists and is not a checkpoint; name another file";

/// Says why a database cannot be opened.
fn reason(error: &redb::Error) -> String {
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            "another process uses it; wait until that has ended, or name another file".to_owned()
        }
        redb::Error::Io(error) if error.kind() == ErrorKind::InvalidData => NOT_OURS.to_owned(),
        redb::Error::Corrupted(_) => {
            format!("it is damaged; delete it or name another file ({error})")
        }
        error => plain(error),
    }
}

/// Returns the text of an error, for one of the operating system without a prefix.
fn plain(error: &redb::Error) -> String {
    match error {
        redb::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

fn unreadable(name: &Path, error: &redb::Error) -> String {
    let (name, error) = (name.display(), plain(error));
    format!("the checkpoint {name} cannot be read: {error}")
}

fn damaged(name: &Path) -> String {
    let name = name.display();
    format!("the checkpoint {name} is damaged; delete it or name another file")
}

/// Uses a database. The library panics on some kinds of damage.
fn sound<R>(name: &Path, read: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged(name)))
}

fn unwritable(name: &Path, error: &redb::Error) -> String {
    format!(
        "results can no longer be stored in the checkpoint {}: {}; the results in it are kept for the next \
         start",
        name.display(),
        plain(error)
    )
}

/// Registers a function. The inner error is how its version differs from the one that has results.
fn register(
    database: &Database,
    name: &str,
    version: Option<&str>,
    signature: &Signature,
) -> Result<Result<(u32, u64), String>, redb::Error> {
    {
        let read = database.begin_read()?;
        let functions = read.open_table(FUNCTIONS)?;
        if let Some(row) = functions.get(name)? {
            let (function, ..) = row.value();
            let compared = compare(row.value(), version, signature);
            let count = read.open_table(COUNTS)?.get(function)?;
            let count = count.map_or(0, |count| count.value());
            return Ok(compared.map(|()| (function, count)));
        }
    }
    let write = database.begin_write()?;
    let function = {
        let mut functions = write.open_table(FUNCTIONS)?;
        let mut next = 0;
        for row in functions.iter()? {
            let (_, row) = row?;
            next = next.max(row.value().0 + 1);
        }
        functions.insert(name, (next, version, &*signature.text, signature.digest))?;
        next
    };
    write.commit()?;
    Ok(Ok((function, 0)))
}

/// Compares a function with the one that has results.
fn compare(
    stored: FunctionRow<'_>,
    version: Option<&str>,
    signature: &Signature,
) -> Result<(), String> {
    let (_, known, text, digest) = stored;
    let told = |version: Option<&str>| match version {
        Some(version) => format!("version {version:?}"),
        None => "no version".to_owned(),
    };
    if known != version {
        return Err(format!(
            "with {}, and this program has {}",
            told(known),
            told(version)
        ));
    }
    if digest != signature.digest {
        let now = match &signature.text {
            same if same == text => "the same with other contents of its types".to_owned(),
            other => format!("`{other}`"),
        };
        return Err(format!("as `{text}`, and in this program it is {now}"));
    }
    Ok(())
}

/// Results that wait for the writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Wakes the writer.
    filled: Condvar,
    /// Wakes threads that wait for the writer.
    written: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: Waiting,
    /// The number of times that the writer has taken what was waiting, and has written it.
    taken: u64,
    done: u64,
    stopped: bool,
    failure: Option<Arc<str>>,
    /// Set once the failure was returned to a map that has ended.
    is_told: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, batch: Batch) {
        let mut state = self.lock();
        let wakes = state.waiting.due().is_none();
        state.waiting.push(batch, Instant::now());
        let wakes = wakes || state.waiting.are_many();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Waits until everything that was pushed is on disk, or cannot be stored.
    fn flush(&self) {
        let mut state = self.lock();
        let until = match state.waiting.due() {
            Some(_) => state.taken + 1,
            None => state.taken,
        };
        state.waiting.hurry();
        self.filled.notify_one();
        while state.done < until {
            state = self
                .written
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits as [`flush`](Self::flush) does. The first call after a failure returns it.
    pub(super) fn take_failure(&self) -> Option<String> {
        self.flush();
        let mut state = self.lock();
        let failure = state.failure.as_ref()?.to_string();
        (!std::mem::replace(&mut state.is_told, true)).then_some(failure)
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.filled.notify_one();
    }

    /// Waits for results that are due. Returns `None` once there are none and no further ones will come.
    fn take(&self) -> Option<Vec<Batch>> {
        let mut state = self.lock();
        loop {
            let due = match state.waiting.due() {
                None if state.stopped => return None,
                None => None,
                Some(_) if state.stopped => Some(Instant::now()),
                due => due,
            };
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state = match left {
                None => self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    state.taken += 1;
                    return Some(state.waiting.take());
                }
                Some(left) => {
                    let waited = self.filled.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// The thread that writes results.
struct Writer {
    database: Arc<Database>,
    queue: Arc<Queue>,
    name: PathBuf,
}

impl Writer {
    fn run(self) {
        while let Some(batches) = self.queue.take() {
            // After a failure results are only taken, so that their maps go on.
            let has_failed = self.queue.lock().failure.is_some();
            let failure = match has_failed {
                true => None,
                false => self.write(&batches),
            };
            let mut state = self.queue.lock();
            state.done += 1;
            if let Some(failure) = failure {
                state.failure = Some(failure.into());
            }
            drop(state);
            self.queue.written.notify_all();
            for batch in batches {
                if let Some(map) = batch.map.upgrade() {
                    map.mark_stored(batch.bytes());
                }
            }
        }
    }

    /// Writes results. Returns why that failed, if it did.
    fn write(&self, batches: &[Batch]) -> Option<String> {
        let write = AssertUnwindSafe(|| write(&self.database, batches));
        match catch_unwind(write) {
            Ok(written) => written.err().map(|error| unwritable(&self.name, &error)),
            // Threads that wait for the writer must not wait for ever.
            Err(_) => Some(damaged(&self.name)),
        }
    }
}

/// Writes results in one transaction, which is on disk when this returns.
fn write(database: &Database, batches: &[Batch]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    insert(&write, batches)?;
    write.commit()?;
    Ok(())
}

fn insert(write: &WriteTransaction, batches: &[Batch]) -> Result<(), redb::Error> {
    let mut entries = Vec::new();
    for batch in batches {
        entries.extend(
            batch
                .entries()
                .map(|(key, value)| (key, value, batch.function)),
        );
    }
    // In the order of the keys, neighbours are in the same page.
    entries.sort_unstable();
    let mut results = write.open_table(RESULTS)?;
    let mut added: HashMap<u32, u64> = HashMap::new();
    for (key, value, function) in entries {
        if results.insert(key, value)?.is_none() {
            *added.entry(function).or_default() += 1;
        }
    }
    let mut counts = write.open_table(COUNTS)?;
    for (function, added) in added {
        let count = counts.get(function)?.map_or(0, |count| count.value());
        counts.insert(function, count + added)?;
    }
    Ok(())
}
