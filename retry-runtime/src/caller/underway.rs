//! Keeps track of the maps of a program: the inputs that they will have, and what their consumers are doing. The
//! display of progress and the summary of a run read it.
//!
//! The scheduler knows only the inputs that a map has submitted, which are a window of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::scheduler::Counts;
use crate::sys::PerProcess;

/// The maps of each function. Uninitialised unless they are watched, so that they cost nothing otherwise.
static MAPS: PerProcess<Mutex<HashMap<&'static str, Maps>>> = PerProcess::new();

/// The value of [`Underway::left`] if the input iterator does not report its length, and of [`Underway::next`]
/// if the map does not keep the order.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Maps {
    /// The function's counts when the oldest of these maps began.
    base: Counts,
    running: Vec<Weak<Underway>>,
    /// The number of calls of the function with the inputs that were still to come when the program was told to end.
    intended: Option<u64>,
}

impl Maps {
    /// Returns the number of inputs that the maps have not submitted yet, of those that report their lengths.
    fn left(&self) -> u64 {
        let running = self.running.iter().filter_map(Weak::upgrade);
        let left = running.map(|map| map.left.load(Ordering::Relaxed));
        left.filter(|left| *left != UNKNOWN).sum()
    }
}

/// The activity of the thread or task that consumes a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Activity {
    /// It runs code of the program, between two results.
    Consuming,
    /// It runs the input iterator.
    TakingInputs,
    /// It waits for a result, or works for the map.
    Waiting,
}

/// A map that has not returned its last result.
#[derive(Debug)]
pub(crate) struct Underway {
    /// The number of inputs that were not submitted yet.
    left: AtomicU64,
    activity: AtomicU8,
    /// The position of the input whose result the consumer needs next.
    next: AtomicU64,
}

impl Underway {
    /// Subtracts `count` inputs that were submitted.
    pub(crate) fn subtract(&self, count: u32) {
        let rest = |left| (left != UNKNOWN).then(|| u64::saturating_sub(left, count.into()));
        let _ = (self.left).fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
    }

    /// Records that there are no further inputs.
    pub(crate) fn end_inputs(&self) {
        self.left.store(0, Ordering::Relaxed);
    }

    /// Records what the consumer does from now on.
    pub(crate) fn set_activity(&self, activity: Activity) {
        self.activity.store(activity as u8, Ordering::Relaxed);
    }

    /// Records which result the consumer waits for, in a map that keeps the order.
    pub(crate) fn set_next(&self, index: u64) {
        self.next.store(index, Ordering::Relaxed);
    }

    fn read(&self) -> MapReading {
        let next = self.next.load(Ordering::Relaxed);
        MapReading {
            has_inputs: self.left.load(Ordering::Relaxed) > 0,
            next: (next != UNKNOWN).then_some(next),
            activity: match self.activity.load(Ordering::Relaxed) {
                activity if activity == Activity::Consuming as u8 => Activity::Consuming,
                activity if activity == Activity::TakingInputs as u8 => Activity::TakingInputs,
                _ => Activity::Waiting,
            },
        }
    }
}

/// The state of a map at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapReading {
    pub(crate) activity: Activity,
    /// `true` if there are inputs, or may be some, that were not submitted yet.
    pub(crate) has_inputs: bool,
    /// The position of the input whose result the consumer needs next, if the map keeps the order.
    pub(crate) next: Option<u64>,
}

/// The maps of a function at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapsReading {
    /// The counts since the oldest of the maps began, or since the last map began if none is under way.
    pub(crate) counts: Counts,
    /// The number of calls including the inputs to come; `None` if an input iterator does not report its length.
    pub(crate) total: Option<u64>,
    pub(crate) maps: Vec<MapReading>,
}

/// Starts to record maps.
pub(crate) fn watch() {
    MAPS.get_or_init(Mutex::default);
}

/// Returns the number of inputs of an iterator with this `size_hint`, if it knows it.
pub(crate) fn known_length(size_hint: (usize, Option<usize>)) -> Option<u64> {
    let (least, most) = size_hint;
    (most == Some(least)).then_some(least as u64)
}

/// Records a map that begins, if maps are watched. `counts` returns the current counts of its function: they
/// become the new base if no other map of the function is under way.
pub(crate) fn begin(
    function: &'static str,
    total: Option<u64>,
    counts: impl FnOnce() -> Counts,
) -> Option<Arc<Underway>> {
    let maps = MAPS.get()?;
    let begun = Arc::new(Underway {
        left: total.unwrap_or(UNKNOWN).into(),
        activity: (Activity::Consuming as u8).into(),
        next: UNKNOWN.into(),
    });
    let mut maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
    let known = maps.entry(function).or_default();
    known.running.retain(|map| map.strong_count() > 0);
    if known.running.is_empty() {
        known.base = counts();
    }
    known.running.push(Arc::downgrade(&begun));
    Some(begun)
}

/// Reads the maps of a function that has these counts.
pub(crate) fn read(function: &str, counts: Counts) -> MapsReading {
    let maps = MAPS.get().map(|maps| maps.lock());
    let maps = maps.map(|maps| maps.unwrap_or_else(PoisonError::into_inner));
    let Some(known) = maps.as_ref().and_then(|maps| maps.get(function)) else {
        return MapsReading {
            counts,
            total: Some(counts.submitted),
            maps: Vec::new(),
        };
    };
    let counts = counts.since(known.base);
    let running: Vec<_> = known.running.iter().filter_map(Weak::upgrade).collect();
    let left = running.iter().map(|map| map.left.load(Ordering::Relaxed));
    let total = left.into_iter().try_fold(counts.submitted, |total, left| {
        (left != UNKNOWN).then(|| total.saturating_add(left))
    });
    MapsReading {
        counts,
        total,
        maps: running.iter().map(|map| map.read()).collect(),
    }
}

/// Records that the program was told to end: inputs that maps have not submitted yet are not made any more. Returns how
/// many these are, as far as that is known.
pub(crate) fn stop(counts: impl Fn(&'static str) -> Counts) -> u64 {
    let Some(maps) = MAPS.get() else { return 0 };
    let mut maps = maps.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = 0;
    for (function, maps) in maps.iter_mut() {
        let left = maps.left();
        maps.intended = (left > 0).then(|| counts(function).submitted + left);
        all += left;
    }
    all
}

/// Returns how many calls of a function there would have been if the program had not been told to end.
pub(crate) fn intended(function: &str) -> Option<u64> {
    let maps = MAPS.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    maps.get(function)?.intended
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
        let since_begun = |function: &str, counts| {
            let reading = read(function, counts);
            (reading.counts, reading.total)
        };
        let unwatched = begin("f", known_length((5, Some(5))), || counts(0, 0));
        assert!(unwatched.is_none());
        assert_eq!(since_begun("f", counts(3, 1)), (counts(3, 1), Some(3)));
        watch();
        // Two single calls are still pending.
        let first = begin("f", known_length((5000, Some(5000))), || counts(12, 10)).unwrap();
        assert_eq!(since_begun("f", counts(12, 10)), (counts(2, 0), Some(5002)));
        first.subtract(1000);
        let now = counts(1012, 20);
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(5002)));
        // A second map at the same time adds to the total.
        let second = begin("f", known_length((7, Some(7))), || unreachable!()).unwrap();
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(5009)));
        second.end_inputs();
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(5002)));
        let unknown = begin("f", known_length((0, Some(9))), || unreachable!()).unwrap();
        unknown.subtract(3);
        assert_eq!(since_begun("f", now).1, None);
        assert_eq!(stop(|_| now), 4000);
        assert_eq!((intended("f"), intended("g")), (Some(5012), None));
        drop((first, second, unknown));
        assert_eq!(since_begun("f", now), (counts(1002, 10), Some(1002)));
        let later = begin("f", known_length((3, Some(3))), || counts(1012, 1012)).unwrap();
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

    #[test]
    fn a_reading_has_what_each_consumer_does() {
        watch();
        let first = begin("h", known_length((2, Some(2))), || counts(0, 0)).unwrap();
        let second = begin("h", known_length((0, None)), || unreachable!()).unwrap();
        first.set_activity(Activity::Waiting);
        first.set_next(7);
        first.end_inputs();
        second.set_activity(Activity::TakingInputs);
        let expected = [
            MapReading {
                activity: Activity::Waiting,
                has_inputs: false,
                next: Some(7),
            },
            MapReading {
                activity: Activity::TakingInputs,
                has_inputs: true,
                next: None,
            },
        ];
        assert_eq!(read("h", counts(2, 0)).maps, expected);
        drop((first, second));
        assert_eq!(read("h", counts(2, 2)).maps, []);
    }
}
