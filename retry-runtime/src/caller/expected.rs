//! Counts the inputs that the maps of a program will have, for the display of its progress.
//!
//! The scheduler knows only the inputs that a map has submitted, which are a window of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::scheduler::Counts;
use crate::sys::PerProcess;

/// The maps of each function. Uninitialised unless the progress is shown, so that it costs nothing otherwise.
static MAPS: PerProcess<Mutex<HashMap<&'static str, Maps>>> = PerProcess::new();

/// The value of [`Expected::left`] if the input iterator does not report its length.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Maps {
    /// The function's counts when the oldest of these maps began.
    base: Counts,
    running: Vec<Weak<Expected>>,
}

/// The inputs that a map has not submitted yet. It exists until the map has returned its last result.
#[derive(Debug)]
pub(crate) struct Expected {
    left: AtomicU64,
}

impl Expected {
    /// Subtracts `count` inputs that were submitted.
    pub(crate) fn subtract(&self, count: u32) {
        let rest = |left| (left != UNKNOWN).then(|| u64::saturating_sub(left, count.into()));
        let _ = (self.left).fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
    }

    /// Records that there are no further inputs.
    pub(crate) fn finish(&self) {
        self.left.store(0, Ordering::Relaxed);
    }
}

/// Starts recording maps.
pub(crate) fn watch() {
    MAPS.get_or_init(Mutex::default);
}

/// Records a map that begins, if the progress is shown. `counts` returns the current counts of its function:
/// they become the new base if no other map of the function is running.
pub(crate) fn begin(
    function: &'static str,
    size_hint: (usize, Option<usize>),
    counts: impl FnOnce() -> Counts,
) -> Option<Arc<Expected>> {
    let maps = MAPS.get()?;
    let (least, most) = size_hint;
    let left = if most == Some(least) {
        least as u64
    } else {
        UNKNOWN
    };
    let begun = Arc::new(Expected { left: left.into() });
    let mut maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
    let known = maps.entry(function).or_default();
    known.running.retain(|map| map.strong_count() > 0);
    if known.running.is_empty() {
        known.base = counts();
    }
    known.running.push(Arc::downgrade(&begun));
    Some(begun)
}

/// Returns the counts of a function since the oldest of its running maps began, or since the last map began
/// if none is running; and the total number of calls including the inputs to come, which is `None` if an
/// input iterator does not report its length.
pub(crate) fn since_begun(function: &str, counts: Counts) -> (Counts, Option<u64>) {
    let maps = MAPS.get().map(|maps| maps.lock());
    let maps = maps.map(|maps| maps.unwrap_or_else(PoisonError::into_inner));
    let Some(known) = maps.as_ref().and_then(|maps| maps.get(function)) else {
        return (counts, Some(counts.submitted));
    };
    let counts = counts.since(known.base);
    let left = known.running.iter().filter_map(Weak::upgrade);
    let left = left.map(|map| map.left.load(Ordering::Relaxed));
    let total = left.into_iter().try_fold(counts.submitted, |total, left| {
        (left != UNKNOWN).then(|| total.saturating_add(left))
    });
    (counts, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(submitted: u64, finished: u64) -> Counts {
        Counts {
            submitted,
            finished,
            ..Counts::default()
        }
    }

    #[test]
    fn a_map_counts_from_zero_and_to_its_own_size() {
        let unwatched = begin("f", (5, Some(5)), || counts(0, 0));
        assert!(unwatched.is_none());
        assert_eq!(since_begun("f", counts(3, 1)), (counts(3, 1), Some(3)));
        watch();
        // Two single calls are still pending.
        let first = begin("f", (5000, Some(5000)), || counts(12, 10)).unwrap();
        assert_eq!(since_begun("f", counts(12, 10)), (counts(2, 0), Some(5002)));
        first.subtract(1000);
        let now = counts(1012, 20);
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(5002)));
        // A second map at the same time adds to the total.
        let second = begin("f", (7, Some(7)), || unreachable!()).unwrap();
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(5009)));
        second.finish();
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(5002)));
        let unknown = begin("f", (0, Some(9)), || unreachable!()).unwrap();
        unknown.subtract(3);
        assert_eq!(since_begun("f", now).1, None);
        drop((first, second, unknown));
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(1002)));
        let later = begin("f", (3, Some(3)), || counts(1012, 1012)).unwrap();
        assert_eq!(
            since_begun("f", counts(1012, 1012)),
            (counts(0, 0), Some(3))
        );
        // An iterator may yield more than it reported.
        later.subtract(4);
        assert_eq!(
            since_begun("f", counts(1016, 1012)),
            (counts(4, 0), Some(4))
        );
        assert_eq!(since_begun("g", counts(1, 0)), (counts(1, 0), Some(1)));
    }
}
