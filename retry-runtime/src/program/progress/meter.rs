//! Measures the time that calls take, their rate, and how long the rest will take.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::program::sampling::Sample;

/// The running time is this much further behind the real one after a suspension, and by less because a thread has
/// to wait for its turn.
const SUSPENSION: Duration = Duration::from_secs(1);

/// A bar that measures the calls of a function. It leaves out the time for which the program is suspended.
pub(super) struct Meter {
    pub(super) bar: ProgressBar,
    /// The running time at which the calls began.
    begun: Instant,
    /// The time by which the running time was behind the real one.
    behind: Duration,
}

impl Meter {
    /// Begins at `now`, which is running time as that of all measurements.
    pub(super) fn new(now: Instant, sample: &Sample) -> Self {
        Self::begin(now, sample.counts.finished, sample.total)
    }

    fn begin(now: Instant, finished: u64, total: Option<u64>) -> Self {
        let mut this = Self {
            bar: ProgressBar::hidden(),
            begun: now,
            behind: behind(now),
        };
        this.count(now, finished, total);
        // The calls that have ended before are no rate.
        this.bar.reset_eta();
        this
    }

    /// Takes in how far the function is.
    pub(super) fn measure(&mut self, now: Instant, sample: &Sample) {
        self.count(now, sample.counts.finished, sample.total);
    }

    fn count(&mut self, now: Instant, finished: u64, total: Option<u64>) {
        let bar = &self.bar;
        match total {
            Some(total) => bar.set_length(total),
            None => bar.unset_length(),
        }
        if finished < bar.position() {
            // Another map has begun.
            bar.reset();
            self.begun = now;
        }
        bar.set_position(finished);
        let elapsed = now.saturating_duration_since(self.begun);
        bar.clone().with_elapsed(elapsed).tick();
        let behind = behind(now);
        if behind > self.behind + SUSPENSION {
            // The bar would count the suspension as time in which no call has ended.
            bar.reset_eta();
        }
        self.behind = behind;
    }
}

fn behind(running: Instant) -> Duration {
    running.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspension_is_no_part_of_the_time_and_of_the_rate() {
        let begun = Instant::now();
        let mut meter = Meter::begin(begun, 0, None);
        meter.count(begun + Duration::from_secs(70), 100, None);
        let elapsed = meter.bar.elapsed();
        assert!((70..75).contains(&elapsed.as_secs()), "{elapsed:?}");
        assert!(meter.bar.per_sec() > 0.0);
        let behind = Instant::now() - Duration::from_secs(30);
        meter.count(behind, 101, None);
        assert!(meter.bar.per_sec() == 0.0);
    }
}
