//! The inputs of a map that are left.

use std::collections::BTreeMap;
use std::ops::Range;

/// Indices of inputs whose results were not handed out, as ranges keyed by their starts: there are at most as
/// many ranges as inputs, however far apart the indices are.
#[derive(Default)]
pub(super) struct Left(BTreeMap<u64, u64>);

impl Left {
    /// Adds indices that are above all others.
    pub(super) fn push(&mut self, range: Range<u64>) {
        match self.0.last_entry() {
            Some(mut last) if *last.get() == range.start => *last.get_mut() = range.end,
            _ => {
                self.0.insert(range.start, range.end);
            }
        }
    }

    pub(super) fn remove(&mut self, index: u64) {
        let Some((&start, end)) = self.0.range_mut(..=index).next_back() else {
            return;
        };
        let end = std::mem::replace(end, index);
        if start == index {
            self.0.remove(&start);
        }
        if index + 1 < end {
            self.0.insert(index + 1, end);
        }
    }

    pub(super) fn take_first(&mut self) -> Option<u64> {
        let first = *self.0.first_key_value()?.0;
        self.remove(first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_tracks_the_indices_of_an_unordered_map() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut left, mut expected) = (Left::default(), std::collections::BTreeSet::new());
        let mut next = 0;
        for _ in 0..2000 {
            if random.bool() {
                let range = next..next + random.u64(1..5);
                next = range.end;
                expected.extend(range.clone());
                left.push(range);
            } else if let Some(&index) = random.choice(&expected.iter().collect::<Vec<_>>()) {
                let index = *index;
                expected.remove(&index);
                left.remove(index);
            }
            assert!(left.0.len() <= expected.len());
            assert!(
                left.0
                    .iter()
                    .flat_map(|(start, end)| *start..*end)
                    .eq(expected.iter().copied())
            );
        }
        assert!(std::iter::from_fn(|| left.take_first()).eq(expected));
    }
}
