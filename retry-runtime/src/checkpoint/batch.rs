//! Results on their way to the database, and when they are due there.

use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::function::registry::Fnv;

/// Longest time for which a result waits for others before they are written together.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Bytes of results that are written without waiting for others.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// A map whose results are stored.
pub(crate) trait Stored: Send + Sync {
    /// Takes note that results which took up this many bytes in the queue have left it.
    fn mark_stored(&self, bytes: usize);
}

/// Results of one map that arrived together.
pub(super) struct Batch {
    pub(super) function: u32,
    pub(super) map: Weak<dyn Stored>,
    /// Keys and values, one behind the other.
    content: Vec<u8>,
    /// The ends of each key and its value.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    pub(super) fn new(function: u32, map: Weak<dyn Stored>) -> Self {
        Self {
            function,
            map,
            content: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Adds a result under the key that `key` appends.
    pub(super) fn put(&mut self, key: impl FnOnce(&mut Vec<u8>), value: &[u8]) {
        let begun = self.content.len();
        key(&mut self.content);
        let key = self.content.len();
        self.content.extend_from_slice(value);
        let sum = checksum(&self.content[begun..key], value);
        self.content.extend_from_slice(&sum);
        self.ends.push((key, self.content.len()));
    }

    /// Returns how many bytes it takes up.
    pub(super) fn bytes(&self) -> usize {
        self.content.len() + size_of_val(&self.ends[..])
    }

    /// Returns the keys with their values, behind which their [checksums](checked) are.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let entry = |(start, (key, end)): (usize, &(usize, usize))| {
            (&self.content[start..*key], &self.content[*key..*end])
        };
        starts.zip(&self.ends).map(entry)
    }
}

/// The number of bytes of a checksum.
const CHECKSUM: usize = 8;

/// Returns the value of an entry without its checksum; `None` if it is not the one that was stored under the key.
pub(super) fn checked<'a>(key: &[u8], entry: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = entry.split_last_chunk::<CHECKSUM>()?;
    (*sum == checksum(key, value)).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Fnv::default();
    hash.write(key);
    hash.write(value);
    hash.finish().to_le_bytes()
}

/// The batches that wait for the writer.
#[derive(Default)]
pub(super) struct Waiting {
    batches: Vec<Batch>,
    bytes: usize,
    /// When the first of them arrived.
    since: Option<Instant>,
    /// They have to be written at once.
    urgent: bool,
}

impl Waiting {
    pub(super) fn push(&mut self, batch: Batch, now: Instant) {
        self.bytes += batch.bytes();
        self.since.get_or_insert(now);
        self.batches.push(batch);
    }

    /// Makes everything that waits due at once.
    pub(super) fn hurry(&mut self) {
        self.urgent = !self.batches.is_empty();
    }

    /// Returns whether there are enough bytes to write them without waiting for others.
    pub(super) fn are_many(&self) -> bool {
        self.bytes >= MAX_BATCH_BYTES
    }

    /// Returns when the batches have to be written, unless there are none.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(if self.urgent || self.are_many() {
            since
        } else {
            since + LONGEST_WAIT
        })
    }

    /// Takes all batches.
    pub(super) fn take(&mut self) -> Vec<Batch> {
        std::mem::take(self).batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unheard;

    impl Stored for Unheard {
        fn mark_stored(&self, _: usize) {}
    }

    fn batch(entries: &[(&[u8], &[u8])]) -> Batch {
        let mut batch = Batch::new(1, Weak::<Unheard>::new());
        for (key, value) in entries {
            batch.put(|out| out.extend_from_slice(key), value);
        }
        batch
    }

    #[test]
    fn a_batch_returns_its_entries() {
        let entries: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"", b"23"), (b"bc", b""), (b"", b"")];
        let batch = batch(&entries);
        let values = batch
            .entries()
            .map(|(key, entry)| (key, checked(key, entry).unwrap()));
        assert!(values.eq(entries));
        for (key, entry) in batch.entries() {
            let mut damaged = entry.to_vec();
            damaged[0] ^= 1;
            assert_eq!(checked(key, &damaged), None);
            assert_eq!(checked(b"x", entry), None);
            assert_eq!(checked(key, &entry[1..]), None);
        }
    }

    #[test]
    fn results_wait_for_others_but_not_for_long() {
        let begun = Instant::now();
        let mut waiting = Waiting::default();
        assert_eq!(waiting.due(), None);
        waiting.hurry();
        assert_eq!(waiting.due(), None);
        waiting.push(batch(&[(b"a", b"1")]), begun);
        waiting.push(batch(&[(b"b", b"1")]), begun + LONGEST_WAIT / 2);
        assert_eq!(waiting.due(), Some(begun + LONGEST_WAIT));
        waiting.hurry();
        assert_eq!(waiting.due(), Some(begun));
        assert_eq!(waiting.take().len(), 2);
        assert_eq!(waiting.due(), None);
        // The urgency of earlier batches is not that of later ones.
        let later = begun + LONGEST_WAIT;
        waiting.push(batch(&[(b"a", b"1")]), later);
        assert_eq!(waiting.due(), Some(later + LONGEST_WAIT));
        waiting.push(
            batch(&[(b"b", &vec![0; MAX_BATCH_BYTES])]),
            later + LONGEST_WAIT,
        );
        assert_eq!(waiting.due(), Some(later));
    }
}
