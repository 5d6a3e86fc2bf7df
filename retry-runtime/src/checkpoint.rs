//! Results that outlive the program: checkpoints of maps, and caches of single calls.
//!
//! Both work on encoded inputs and results, as the transport carries them. `keys.rs` and `batch.rs` decide
//! and do no I/O; `store.rs` is the database of a checkpoint and its writer thread, and `cache.rs` the
//! directory of a cache.

mod batch;
pub(crate) mod cache;
mod keys;
mod store;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::excerpt::grouped;
use crate::api::failure::Rejected;
use crate::api::spec::FunctionSpec;
use crate::codec::Wire;
use crate::codec::outline::Outline;
use crate::codec::payload::Payload;
use crate::function::args::Arguments;
use batch::Batch;
pub(crate) use batch::Stored;
use keys::{Keys, Occurrences};
use store::{Handle, Queue, Snapshot};

/// Age at which a snapshot of the database is replaced. The database cannot reuse space that was freed after
/// its oldest snapshot.
const STALE: Duration = Duration::from_millis(100);

/// The types of a function's arguments and of its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// Their names, for messages.
    text: String,
    /// A digest of their structure, which determines what their encodings mean.
    digest: u64,
}

/// Returns the signature of a function.
pub(crate) type Describe = fn() -> Signature;

/// Returns the signature of a function with these arguments and this result.
pub(crate) fn describe<A: Arguments, T: Wire>() -> Signature {
    let mut outline = Outline::new();
    A::outline(&mut outline);
    let arguments = outline.names().join(", ");
    outline.add::<T>();
    let result = outline.names().last().cloned().unwrap_or_default();
    Signature {
        text: format!("fn({arguments}) -> {result}"),
        digest: outline.digest(),
    }
}

/// The checkpoint of a map under way.
pub(crate) struct Run {
    /// Dropped before the store, which is only closed then.
    snapshot: Option<(Snapshot, Instant)>,
    store: Handle,
    keys: Keys,
    occurrences: Occurrences,
    progress: KeptCount,
}

/// The entry of a checkpoint for an input.
pub(crate) enum Found {
    /// Its result.
    Kept(Bytes),
    /// Nothing. Holds how many equal inputs came before this one.
    Missing(u32),
}

impl Run {
    /// Opens the checkpoint for a map of a function. `inputs` is the number of inputs, if that is known.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or has results of another version of the function.
    pub(crate) fn open(
        path: &Path,
        spec: &FunctionSpec,
        config: Option<&[u8]>,
        describe: Describe,
        inputs: Option<u64>,
    ) -> Result<Self, Rejected> {
        let open = || {
            let store = Handle::open(path)?;
            let (function, stored) = store.register(spec.name, spec.version, &describe())?;
            let progress = KeptCount::new(spec.name, path.to_owned(), stored, inputs);
            Ok(Self {
                snapshot: None,
                store,
                keys: Keys::new(function, config),
                occurrences: Occurrences::default(),
                progress,
            })
        };
        open().map_err(|reason: String| Rejected::Checkpoint(reason.into()))
    }

    /// Returns what the checkpoint has for the next input.
    ///
    /// # Errors
    ///
    /// If results can no longer be read or stored.
    pub(crate) fn find(&mut self, input: &[u8]) -> Result<Found, Rejected> {
        if let Some(failure) = self.store.failure() {
            return Err(Rejected::Checkpoint(failure.as_ref().into()));
        }
        let occurrence = self.occurrences.count(input);
        if !self.progress.has_stored() {
            return Ok(Found::Missing(occurrence));
        }
        let is_stale = |(_, taken): &(_, Instant)| taken.elapsed() > STALE;
        if self.snapshot.as_ref().is_none_or(is_stale) {
            let snapshot = self.store.snapshot();
            self.snapshot = Some((snapshot.map_err(unreadable)?, Instant::now()));
        }
        let (snapshot, _) = self.snapshot.as_ref().expect("it was taken above");
        let mut key = Vec::new();
        self.keys.put(input, occurrence, &mut key);
        Ok(match snapshot.get(&key).map_err(unreadable)? {
            Some(value) => {
                self.progress.kept += 1;
                Found::Kept(value)
            }
            None => Found::Missing(occurrence),
        })
    }

    /// Releases the snapshot, before the map waits.
    pub(crate) fn release_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// Returns the recorder for results that arrive. `map` hears of results that were stored.
    pub(crate) fn recorder(&self, map: Weak<dyn Stored>) -> Option<Box<Recorder>> {
        Some(Box::new(Recorder {
            keys: self.keys.clone(),
            queue: Arc::clone(self.store.queue()),
            repeated: HashMap::new(),
            map,
        }))
    }

    /// Waits until the results are on disk. Returns why some of them are not, unless another map has been told.
    pub(crate) fn close(mut self) -> Option<String> {
        self.snapshot = None;
        let failure = self.store.queue().take_failure();
        failure.or_else(|| self.store.removal())
    }

    /// Returns the number of kept results, as far as it is known when a map begins or when its last input,
    /// the `taken`th, was taken.
    pub(crate) fn tell(&mut self, taken: Option<u64>) -> Option<String> {
        self.progress.tell(taken)
    }
}

fn unreadable(reason: String) -> Rejected {
    Rejected::Checkpoint(reason.into())
}

/// Counts the inputs of a map whose results were kept.
struct KeptCount {
    function: &'static str,
    path: PathBuf,
    /// The number of the function's results in the file when the map began.
    stored: u64,
    inputs: Option<u64>,
    kept: u64,
    /// The numbers that were printed: kept, and to do.
    told: Option<(u64, u64)>,
}

impl KeptCount {
    fn new(function: &'static str, path: PathBuf, stored: u64, inputs: Option<u64>) -> Self {
        Self {
            function,
            path,
            stored,
            inputs,
            kept: 0,
            told: None,
        }
    }

    fn has_stored(&self) -> bool {
        self.stored > 0
    }

    /// Returns the line to print when the map begins, or when all `taken` inputs were taken. The first line
    /// assumes that the results in the file are those of inputs of this map. The second line is only needed
    /// if there was no first one, or if it was wrong.
    fn tell(&mut self, taken: Option<u64>) -> Option<String> {
        if !self.has_stored() {
            return None;
        }
        let now = match taken {
            Some(taken) => (self.kept, taken - self.kept),
            None => (self.stored, self.inputs?.checked_sub(self.stored)?),
        };
        let before = self.told.replace(now);
        if before == Some(now) {
            return None;
        }
        let (kept, to_do) = (grouped(now.0), grouped(now.1));
        let (function, path) = (self.function, self.path.display());
        let correction = match before {
            Some(_) => ", since the file has results of other inputs as well",
            None => "",
        };
        Some(format!(
            "{function}: {kept} kept, {to_do} to do ({path}){correction}"
        ))
    }
}

/// Queues the results of a map for its checkpoint as they arrive.
pub(crate) struct Recorder {
    keys: Keys,
    queue: Arc<Queue>,
    /// The number of equal inputs before an input, by its index; only for inputs with equal ones before them.
    repeated: HashMap<u64, u32>,
    map: Weak<dyn Stored>,
}

impl Recorder {
    /// Notes that `before` inputs that equal the one at `index` came before it.
    pub(crate) fn note_repeated(&mut self, index: u64, before: u32) {
        self.repeated.insert(index, before);
    }

    /// Queues the results of successive inputs, the first of which has this index. Returns the number of
    /// bytes that the queue holds until they are stored.
    pub(crate) fn record(&mut self, index: u64, inputs: &Payload, values: &Payload) -> usize {
        let mut batch = Batch::new(self.keys.function(), Weak::clone(&self.map));
        let pairs = inputs.clone().values().zip(values.clone().values());
        for (index, (input, value)) in (index..).zip(pairs) {
            let occurrence = match self.repeated.is_empty() {
                true => 0,
                false => self.repeated.remove(&index).unwrap_or(0),
            };
            batch.put(|key| self.keys.put(&input, occurrence, key), &value);
        }
        let bytes = batch.bytes();
        self.queue.push(batch);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_kept_results_is_told_once() {
        let count = |stored, inputs| KeptCount::new("f", "run.db".into(), stored, inputs);
        let mut fresh = count(0, Some(10));
        assert_eq!((fresh.tell(None), fresh.tell(Some(10))), (None, None));

        let mut same = count(9_981, Some(10_000));
        let line = "f: 9,981 kept, 19 to do (run.db)";
        assert_eq!(same.tell(None).as_deref(), Some(line));
        same.kept = 9_981;
        assert_eq!(same.tell(Some(10_000)), None);

        // The number of inputs is unknown, or smaller than that of stored results.
        for inputs in [None, Some(5)] {
            let mut late = count(9, inputs);
            assert_eq!(late.tell(None), None);
            late.kept = 2;
            let line = "f: 2 kept, 3 to do (run.db)";
            assert_eq!(late.tell(Some(5)).as_deref(), Some(line));
        }

        let mut others = count(3, Some(4));
        assert!(others.tell(None).is_some());
        others.kept = 1;
        let line =
            "f: 1 kept, 3 to do (run.db), since the file has results of other inputs as well";
        assert_eq!(others.tell(Some(4)).as_deref(), Some(line));
    }

    #[test]
    fn large_numbers_are_grouped() {
        let texts = [0, 999, 1000, 20_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "20,000", "1,234,567"]);
    }

    #[test]
    fn a_signature_has_names_and_a_structure() {
        use crate::function::args::{Ref, Val};
        let one = describe::<(Val<u64>, Ref<str>), Vec<u8>>();
        assert_eq!(one.text, "fn(u64, String) -> Vec<u8>");
        assert_eq!(one, describe::<(Val<u64>, Ref<str>), Vec<u8>>());
        let others = [
            describe::<(Val<u32>, Ref<str>), Vec<u8>>(),
            describe::<(Val<u64>,), Vec<u8>>(),
            describe::<(Val<u64>, Ref<str>), Vec<u16>>(),
            describe::<(Val<u64>, Ref<str>), ()>(),
        ];
        assert!(others.iter().all(|other| other.digest != one.digest));
    }
}
