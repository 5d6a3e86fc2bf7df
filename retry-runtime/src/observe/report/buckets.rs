//! Counts over time, in memory that does not depend on the length of a run.

use std::time::Duration;

/// Greatest number of buckets of time.
const BUCKETS: usize = 240;

/// The width of a bucket at the beginning of a run.
const FIRST_WIDTH: Duration = Duration::from_millis(5);

/// Counts of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Calls that ended with a result.
    pub(super) succeeded: u64,
    /// Calls that ended without one.
    pub(super) failed: u64,
    /// Attempts that were repeated.
    pub(super) retried: u64,
}

impl Counts {
    fn merge(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.retried += other.retried;
    }
}

/// Counts over time. When a run gets longer than the buckets cover, pairs of them are merged.
#[derive(Debug)]
pub(super) struct Rate {
    width: Duration,
    buckets: Vec<Counts>,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            width: FIRST_WIDTH,
            buckets: Vec::new(),
        }
    }
}

impl Rate {
    /// Returns the counts of a time.
    pub(super) fn at(&mut self, time: Duration) -> &mut Counts {
        let place = loop {
            let place = time.as_nanos() / self.width.as_nanos();
            match usize::try_from(place) {
                Ok(place) if place < BUCKETS => break place,
                _ => self.merge_pairs(),
            }
        };
        if self.buckets.len() <= place {
            self.buckets.resize(place + 1, Counts::default());
        }
        &mut self.buckets[place]
    }

    fn merge_pairs(&mut self) {
        self.width = self.width.saturating_mul(2);
        let merged = self.buckets.chunks(2).map(|pair| {
            let mut sum = Counts::default();
            for counts in pair {
                sum.merge(*counts);
            }
            sum
        });
        self.buckets = merged.collect();
    }

    pub(super) fn width(&self) -> Duration {
        self.width
    }

    pub(super) fn buckets(&self) -> &[Counts] {
        &self.buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_merged_when_a_run_gets_longer() {
        let mut rate = Rate::default();
        let mut random = fastrand::Rng::with_seed(3);
        let (mut succeeded, mut failed) = (0, 0);
        // Up to ten days, with steps of all magnitudes.
        let mut time = Duration::ZERO;
        while time < Duration::from_secs(864_000) {
            let counts = rate.at(time);
            counts.succeeded += 3;
            counts.failed += 1;
            (succeeded, failed) = (succeeded + 3, failed + 1);
            let magnitude = random.u32(1..34);
            time += Duration::from_micros(random.u64(1..1 << magnitude));
            assert!(rate.buckets().len() <= BUCKETS);
        }
        // A late record of an early event.
        rate.at(Duration::ZERO).retried += 7;
        let sum = |part: fn(&Counts) -> u64| rate.buckets().iter().map(part).sum::<u64>();
        assert_eq!(sum(|counts| counts.succeeded), succeeded);
        assert_eq!(sum(|counts| counts.failed), failed);
        assert_eq!(rate.buckets()[0].retried, 7);
        assert!(rate.buckets().len() > BUCKETS / 2);
    }
}
