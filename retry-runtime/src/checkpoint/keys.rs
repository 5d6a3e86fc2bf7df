//! Keys of stored results.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use sha2::{Digest, Sha256};

/// Longest encoded input that is a part of its key. The key of a longer one has a digest instead.
const MAX_PLAIN_KEY: usize = 64;

/// The part of a key behind the function's number.
const INPUT: u8 = 0;
const DIGEST: u8 = 1;

/// Builds the keys of one function's results.
#[derive(Clone)]
pub(super) struct Keys {
    function: u32,
    /// The digest of the parameters of the service that the function is a method of: its results depend on
    /// them.
    service: Option<[u8; 32]>,
}

impl Keys {
    pub(super) fn new(function: u32, config: Option<&[u8]>) -> Self {
        Self {
            function,
            service: config.map(|config| Sha256::digest(config).into()),
        }
    }

    pub(super) fn function(&self) -> u32 {
        self.function
    }

    /// Appends the key of the result of an encoded input, for the next one after `occurrence` equal inputs.
    /// Different inputs have different keys: a short input is in its key, and SHA-256 has no known collisions.
    pub(super) fn put(&self, input: &[u8], occurrence: u32, key: &mut Vec<u8>) {
        key.extend(self.function.to_be_bytes());
        if self.service.is_none() && input.len() <= MAX_PLAIN_KEY {
            key.push(INPUT);
            key.extend(input);
        } else {
            let mut digest = Sha256::new();
            digest.update(self.service.unwrap_or_default());
            digest.update(input);
            key.push(DIGEST);
            key.extend(digest.finalize());
        }
        key.extend(occurrence.to_be_bytes());
    }
}

/// Counts equal inputs of a map. Takes about 30 bytes for each different input.
#[derive(Default)]
pub(super) struct Occurrences(HashMap<u64, u32>);

impl Occurrences {
    /// Returns how many inputs that equal this one were counted before it.
    ///
    /// Inputs with the same hash count as equal. Their keys still differ, so such an input only has a number
    /// that is higher than necessary.
    pub(super) fn count(&mut self, input: &[u8]) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write(input);
        let known = self.0.entry(hasher.finish()).or_default();
        let before = *known;
        *known = before.saturating_add(1);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(keys: &Keys, input: &[u8], occurrence: u32) -> Vec<u8> {
        let mut key = Vec::new();
        keys.put(input, occurrence, &mut key);
        key
    }

    #[test]
    fn keys_differ_in_each_of_their_parts() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let services = [
            Keys::new(1, None),
            Keys::new(2, None),
            Keys::new(1, Some(b"")),
            Keys::new(1, Some(b"a")),
        ];
        let mut inputs: Vec<Vec<u8>> = (0..200)
            .map(|length| {
                std::iter::repeat_with(|| random.u8(0..2))
                    .take(length)
                    .collect()
            })
            .collect();
        inputs.sort();
        inputs.dedup();
        let mut known = std::collections::BTreeSet::new();
        let mut count = 0;
        for keys in &services {
            for input in &inputs {
                for occurrence in [0, 1, 256] {
                    known.insert(key(keys, input, occurrence));
                    count += 1;
                }
            }
        }
        assert_eq!(known.len(), count);
    }

    #[test]
    fn equal_inputs_are_counted() {
        let mut occurrences = Occurrences::default();
        let counts = [b"a", b"b", b"a", b"a", b"b"].map(|input| occurrences.count(input));
        assert_eq!(counts, [0, 0, 1, 2, 1]);
    }
}
