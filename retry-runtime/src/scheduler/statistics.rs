//! Sums up all calls of a function, for the summary of a run.

use std::time::{Duration, Instant};

use crate::api::histogram::Histogram;

/// The times and workers of a function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    /// The first submission and the last end of a call.
    pub(crate) period: Option<(Instant, Instant)>,
    /// The total time of all attempts.
    pub(crate) busy: Duration,
    /// The times of attempts that were answered.
    pub(crate) times: Histogram<8>,
    /// The longest attempt, and its input in its map.
    pub(crate) slowest: Option<(Duration, Option<u64>)>,
    /// The number of calls that succeeded after a failed attempt.
    pub(crate) after_retry: u64,
    /// The number of attempts that took more than half of their timeout, if that was observed.
    pub(crate) slow: u64,
    /// The number of workers that became ready, and the total time of their set-ups.
    pub(crate) workers: u64,
    pub(crate) set_up: Duration,
    /// The number of workers that did not become ready.
    pub(crate) failed_starts: u64,
    /// The number of workers that died while they were executing.
    pub(crate) lost: u64,
    /// The greatest number of workers at a time.
    pub(crate) most_workers: usize,
}

impl Statistics {
    /// Adds attempts that took this long together.
    pub(super) fn add(&mut self, total: Duration, attempts: u32) {
        self.busy += total;
        self.times.add(total / attempts.max(1), u64::from(attempts));
    }

    /// Returns whether an attempt would be the slowest.
    pub(super) fn is_slowest(&self, duration: Duration) -> bool {
        self.slowest.is_none_or(|(slowest, _)| slowest < duration)
    }

    /// Counts an attempt, of an input at this index of its map, if it is the slowest so far.
    pub(super) fn note_slowest(&mut self, duration: Duration, index: Option<u64>) {
        if self.is_slowest(duration) {
            self.slowest = Some((duration, index));
        }
    }

    pub(super) fn note_time(&mut self, now: Instant) {
        let begun = self.period.map_or(now, |(begun, _)| begun);
        self.period = Some((begun, now));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.period = match (self.period, other.period) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
        self.busy += other.busy;
        self.times.merge(&other.times);
        if let Some((duration, index)) = other.slowest {
            self.note_slowest(duration, index);
        }
        self.after_retry += other.after_retry;
        self.slow += other.slow;
        self.workers += other.workers;
        self.set_up += other.set_up;
        self.failed_starts += other.failed_starts;
        self.lost += other.lost;
        self.most_workers += other.most_workers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_statistics_have_the_times_of_both() {
        let mut statistics = Statistics::default();
        for millis in 1..=100 {
            statistics.add(Duration::from_millis(millis), 1);
        }
        let mut other = Statistics::default();
        other.add(Duration::from_secs(200), 100);
        statistics.merge(&other);
        assert_eq!(statistics.busy, Duration::from_millis(5050 + 200_000));
        for (share, millis) in [(0.25, 50.0), (0.5, 100.0), (0.95, 2000.0)] {
            let found = statistics.times.quantile(share).unwrap().as_secs_f64() * 1000.0;
            assert!((0.87..1.14).contains(&(found / millis)), "{share}: {found}");
        }
    }
}
