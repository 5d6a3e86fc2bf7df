//! What is known of all calls of a function: for the summary of a run.

use std::time::{Duration, Instant};

/// The number of buckets per doubling of the time: neighbours differ by an eighth at most.
const STEPS: usize = 8;

const BUCKETS: usize = STEPS * 64;

/// The times and workers of a function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    /// The first submission and the last end of a call.
    pub(crate) period: Option<(Instant, Instant)>,
    /// The total time of all attempts.
    pub(crate) busy: Duration,
    /// The times of attempts that were answered.
    pub(crate) times: Histogram,
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
        self.times.add(total / attempts.max(1), attempts);
    }

    /// Returns whether an attempt would be the slowest.
    pub(super) fn is_slowest(&self, duration: Duration) -> bool {
        self.slowest.is_none_or(|(slowest, _)| slowest < duration)
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
        if let Some((duration, _)) = other.slowest
            && self.is_slowest(duration)
        {
            self.slowest = other.slowest;
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

/// Times by their magnitude.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram(Option<Box<[u64; BUCKETS]>>);

impl Histogram {
    fn add(&mut self, time: Duration, count: u32) {
        let buckets = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        buckets[bucket(time)] += u64::from(count);
    }

    fn merge(&mut self, other: &Self) {
        let Some(others) = &other.0 else { return };
        let buckets = self.0.get_or_insert_with(|| Box::new([0; BUCKETS]));
        for (bucket, other) in buckets.iter_mut().zip(others.iter()) {
            *bucket += other;
        }
    }

    /// Returns the time that this share of the attempts did not exceed, as exactly as the buckets are.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let buckets = self.0.as_ref()?;
        let all: u64 = buckets.iter().sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of attempts need not be exact"
        )]
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(found))
    }
}

/// Returns the bucket of a time.
fn bucket(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
    let doubling = nanos.ilog2() as usize;
    let rest = nanos - (1 << doubling);
    // The next three bits below the highest one.
    let step = match doubling.checked_sub(3) {
        Some(shift) => rest >> shift,
        None => rest << (3 - doubling),
    };
    doubling * STEPS + step as usize
}

/// Returns the middle of a bucket.
fn middle(bucket: usize) -> Duration {
    let (doubling, step) = (bucket / STEPS, bucket % STEPS);
    let low = 1_u128 << doubling;
    let width = low / STEPS as u128;
    let nanos = low + width * step as u128 + width / 2;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_times_that_differ_by_an_eighth_at_most() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let shift = random.u32(0..63);
            let nanos = random.u64(1..u64::MAX >> shift);
            let time = Duration::from_nanos(nanos);
            let middle = middle(bucket(time)).as_nanos() as f64;
            let ratio = middle / nanos as f64;
            assert!(
                (0.87..1.14).contains(&ratio) || nanos < 16,
                "{nanos}: {ratio}"
            );
        }
        assert!(bucket(Duration::MAX) < BUCKETS);
        assert_eq!(bucket(Duration::ZERO), 0);
    }

    #[test]
    fn quantiles_are_those_of_the_attempts() {
        let mut statistics = Statistics::default();
        for millis in 1..=100 {
            statistics.add(Duration::from_millis(millis), 1);
        }
        let mut other = Statistics::default();
        other.add(Duration::from_secs(200), 100);
        statistics.merge(&other);
        let near = |share: f64, millis: u64| {
            let found = statistics.times.quantile(share).unwrap().as_secs_f64() * 1000.0;
            let ratio = found / millis as f64;
            assert!((0.87..1.14).contains(&ratio), "{share}: {found}");
        };
        near(0.25, 50);
        near(0.5, 100);
        near(0.95, 2000);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
