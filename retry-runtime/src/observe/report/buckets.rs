//! Counts over time, and times by their magnitude, in memory that does not depend on the length of a run.

use std::time::Duration;

/// How many buckets of time there are at most.
const BUCKETS: usize = 240;

/// The width of a bucket at the beginning of a run.
const FIRST_WIDTH: Duration = Duration::from_millis(5);

/// The number of steps per doubling of a time: neighbours differ by a thirty-second at most.
const STEPS: usize = 32;

/// What has happened in a period.
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

/// Times by their magnitude.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; STEPS * 64],
            longest: Duration::ZERO,
        }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration, count: u64) {
        self.buckets[bucket(time)] += count;
        self.longest = self.longest.max(time);
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns the time that this share of all did not exceed, as exactly as the buckets are.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.buckets.iter().sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share need not be exact"
        )]
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let middle = lower(found).midpoint(lower(found + 1));
        Some(Duration::from_nanos(middle).min(self.longest))
    }

    /// Returns the counts between the shortest and the longest time in wider buckets, `per_doubling` of them for
    /// each doubling, with their limits.
    pub(super) fn coarse(&self, per_doubling: usize) -> Vec<(Duration, Duration, u64)> {
        let size = STEPS / per_doubling;
        let sums: Vec<u64> = self
            .buckets
            .chunks(size)
            .map(|buckets| buckets.iter().sum())
            .collect();
        let (Some(first), Some(last)) = (
            sums.iter().position(|sum| *sum > 0),
            sums.iter().rposition(|sum| *sum > 0),
        ) else {
            return Vec::new();
        };
        let limit = |place: usize| Duration::from_nanos(lower(place * size));
        (first..=last)
            .map(|place| (limit(place), limit(place + 1), sums[place]))
            .collect()
    }
}

/// Returns the bucket of a time.
fn bucket(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
    let doubling = nanos.ilog2() as usize;
    let rest = nanos - (1 << doubling);
    // The five bits below the highest one.
    let step = match doubling.checked_sub(5) {
        Some(shift) => rest >> shift,
        None => rest << (5 - doubling),
    };
    doubling * STEPS + usize::try_from(step).unwrap_or_default()
}

/// Returns the shortest time of a bucket, in nanoseconds.
fn lower(bucket: usize) -> u64 {
    let (doubling, step) = (bucket / STEPS, bucket % STEPS);
    let low = 1_u128.checked_shl(u32::try_from(doubling).unwrap_or(u32::MAX));
    let low = low.unwrap_or(u128::MAX >> 8);
    let nanos = low + low * step as u128 / STEPS as u128;
    u64::try_from(nanos).unwrap_or(u64::MAX)
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

    #[test]
    fn a_bucket_holds_times_that_differ_little() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let shift = random.u32(0..58);
            let nanos = random.u64(32..u64::MAX >> shift);
            let place = bucket(Duration::from_nanos(nanos));
            assert!(lower(place) <= nanos && nanos < lower(place + 1), "{nanos}");
            assert!(lower(place + 1) - lower(place) <= nanos / 32 + 1, "{nanos}");
        }
        assert!(bucket(Duration::MAX) < STEPS * 64);
        assert_eq!(bucket(Duration::ZERO), 0);
    }

    #[test]
    fn quantiles_and_coarse_buckets_are_those_of_the_times() {
        let mut times = Histogram::default();
        assert_eq!(times.quantile(0.5), None);
        assert_eq!(times.coarse(2), []);
        for millis in 1..=1000 {
            times.add(Duration::from_millis(millis), 2);
        }
        for (share, millis) in [(0.01, 10.0), (0.5, 500.0), (0.95, 950.0), (1.0, 1000.0)] {
            let found = times.quantile(share).unwrap().as_secs_f64() * 1000.0;
            assert!((found / millis - 1.0).abs() < 0.035, "{share}: {found}");
        }
        assert!(times.quantile(1.0) <= Some(times.longest()));
        let coarse = times.coarse(2);
        assert_eq!(coarse.iter().map(|(_, _, count)| count).sum::<u64>(), 2000);
        assert!(coarse[0].0 <= Duration::from_millis(1) && coarse.len() < 24);
        assert!(coarse.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }
}
