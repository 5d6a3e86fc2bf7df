//! Times by their magnitude, in memory that does not depend on their number.

use std::time::Duration;

use crate::sys;

/// Counts of times in buckets, `STEPS` of them for each doubling: neighbours differ by one part in `STEPS` at
/// most. `STEPS` is a power of two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram<const STEPS: usize> {
    /// The counts; empty until there is a time.
    buckets: Vec<u64>,
    longest: Duration,
}

impl<const STEPS: usize> Histogram<STEPS> {
    pub(crate) fn add(&mut self, time: Duration, count: u64) {
        self.begin();
        self.buckets[Self::bucket(time)] += count;
        self.longest = self.longest.max(time);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.buckets.is_empty() {
            return;
        }
        self.begin();
        for (bucket, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += other;
        }
        self.longest = self.longest.max(other.longest);
    }

    fn begin(&mut self) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; STEPS * 64];
        }
    }

    /// Returns the time that this share of all did not exceed, as exactly as the buckets are.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
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
        let middle = Self::lower(found).midpoint(Self::lower(found + 1));
        Some(Duration::from_nanos(middle).min(self.longest))
    }

    /// Returns the bucket of a time.
    fn bucket(time: Duration) -> usize {
        let nanos = sys::nanos_of(time).max(1);
        let doubling = nanos.ilog2();
        let rest = nanos - (1 << doubling);
        // The bits below the highest one.
        let bits = STEPS.ilog2();
        let step = match doubling.checked_sub(bits) {
            Some(shift) => rest >> shift,
            None => rest << (bits - doubling),
        };
        doubling as usize * STEPS + usize::try_from(step).unwrap_or_default()
    }

    /// Returns the shortest time of a bucket, in nanoseconds.
    fn lower(bucket: usize) -> u64 {
        let (doubling, step) = (bucket / STEPS, bucket % STEPS);
        let low = 1_u128.checked_shl(u32::try_from(doubling).unwrap_or(u32::MAX));
        let low = low.unwrap_or(u128::MAX >> 8);
        let nanos = low + low * step as u128 / STEPS as u128;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[cfg(feature = "report")]
impl<const STEPS: usize> Histogram<STEPS> {
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Returns the counts between the shortest and the longest time in wider buckets, `per_doubling` of them for
    /// each doubling, with their limits.
    pub(crate) fn coarse(&self, per_doubling: usize) -> Vec<(Duration, Duration, u64)> {
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
        let limit = |place: usize| Duration::from_nanos(Self::lower(place * size));
        (first..=last)
            .map(|place| (limit(place), limit(place + 1), sums[place]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_buckets<const STEPS: usize>() {
        let lower = Histogram::<STEPS>::lower;
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let shift = random.u32(0..58);
            let nanos = random.u64(32..u64::MAX >> shift);
            let place = Histogram::<STEPS>::bucket(Duration::from_nanos(nanos));
            assert!(lower(place) <= nanos && nanos < lower(place + 1), "{nanos}");
            let width = lower(place + 1) - lower(place);
            assert!(width <= nanos / STEPS as u64 + 1, "{nanos}");
        }
        assert!(Histogram::<STEPS>::bucket(Duration::MAX) < STEPS * 64);
        assert_eq!(Histogram::<STEPS>::bucket(Duration::ZERO), 0);
    }

    #[test]
    fn a_bucket_holds_times_that_differ_little() {
        check_buckets::<8>();
        check_buckets::<32>();
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut times = Histogram::<32>::default();
        assert_eq!(times.quantile(0.5), None);
        let mut others = times.clone();
        for millis in 1..=500 {
            times.add(Duration::from_millis(millis), 2);
            others.add(Duration::from_millis(500 + millis), 2);
        }
        times.merge(&others);
        times.merge(&Histogram::default());
        for (share, millis) in [(0.01, 10.0), (0.5, 500.0), (0.95, 950.0), (1.0, 1000.0)] {
            let found = times.quantile(share).unwrap().as_secs_f64() * 1000.0;
            assert!((found / millis - 1.0).abs() < 0.035, "{share}: {found}");
        }
        assert!(times.quantile(1.0) <= Some(Duration::from_secs(1)));
    }

    #[cfg(feature = "report")]
    #[test]
    fn coarse_buckets_have_the_counts_of_the_fine_ones() {
        let mut times = Histogram::<32>::default();
        assert_eq!(times.coarse(2), []);
        for millis in 1..=1000 {
            times.add(Duration::from_millis(millis), 2);
        }
        let coarse = times.coarse(2);
        assert_eq!(coarse.iter().map(|(_, _, count)| count).sum::<u64>(), 2000);
        assert!(coarse[0].0 <= Duration::from_millis(1) && coarse.len() < 24);
        assert!(coarse.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }
}
