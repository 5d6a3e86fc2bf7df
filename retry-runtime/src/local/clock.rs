//! The clock of an engine: its limits and delays stand still while the program is suspended.

use std::time::{Duration, Instant};

/// A clock that stands still while the program is suspended. It has two times. The *running time* is the real
/// one without the suspensions. The scheduler's time has a lead over it in a test that skips waits.
#[derive(Default)]
pub(crate) struct Clock {
    /// The lead of the scheduler's time.
    ahead: Duration,
    /// The suspensions: when each began, in running time, and how long it and those before it took.
    suspensions: Vec<(Instant, Duration)>,
}

impl Clock {
    /// Returns the scheduler's time.
    pub(crate) fn now(&self) -> Instant {
        self.at(Instant::now())
    }

    /// Returns the running time.
    pub(crate) fn running(&self) -> Instant {
        Instant::now() - self.suspended()
    }

    /// Returns the scheduler's time at a real time since the last suspension.
    pub(crate) fn at(&self, real: Instant) -> Instant {
        real + self.ahead - self.suspended()
    }

    /// Returns the scheduler's time at a running time.
    pub(crate) fn at_running(&self, running: Instant) -> Instant {
        running + self.ahead
    }

    /// Returns the real time at a running time, which may be in the past or in the future. It is late enough
    /// if the time cannot be calculated.
    pub(crate) fn real(&self, running: Instant) -> Instant {
        let before = self.suspensions.partition_point(|(at, _)| *at < running);
        let last = before.checked_sub(1).map(|last| self.suspensions[last].1);
        let suspended = last.unwrap_or_default();
        running.checked_add(suspended).unwrap_or(running)
    }

    /// Returns the real time at which the scheduler's time will come.
    pub(crate) fn real_at(&self, scheduled: Instant) -> Option<Instant> {
        Some(self.real(scheduled.checked_sub(self.ahead)?))
    }

    /// Returns how long the program has been suspended in total.
    pub(crate) fn suspended(&self) -> Duration {
        let last = self.suspensions.last();
        last.map_or(Duration::ZERO, |(_, total)| *total)
    }

    /// Sets the scheduler's time ahead.
    pub(crate) fn skip(&mut self, time: Duration) {
        self.ahead += time;
    }

    /// Takes the time of a suspension, given by its real beginning and end, out of this clock's times.
    pub(crate) fn suspend(&mut self, begun: Instant, ended: Instant) {
        let before = self.suspended();
        let total = before + ended.saturating_duration_since(begun);
        self.suspensions.push((begun - before, total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_suspension_takes_no_time() {
        let begun = Instant::now();
        let second = |number| begun + number * SECOND;
        let mut clock = Clock::default();
        assert_eq!(clock.at(second(1)), second(1));
        clock.suspend(second(2), second(5));
        assert_eq!(clock.at(second(5)), second(2));
        assert_eq!(clock.at(second(6)), second(3));
        clock.suspend(second(8), second(18));
        assert_eq!(clock.suspended(), 13 * SECOND);
        assert_eq!(clock.at(second(20)), second(7));
        // Back to the real time, before, between and after the suspensions.
        for (running, real) in [(1, 1), (2, 2), (4, 7), (5, 8), (6, 19), (60, 73)] {
            assert_eq!(clock.real(second(running)), second(real), "{running}");
        }
    }

    #[test]
    fn the_lead_is_that_of_the_scheduler_alone() {
        let begun = Instant::now();
        let mut clock = Clock::default();
        clock.skip(SECOND);
        clock.suspend(begun, begun + 9 * SECOND);
        clock.skip(SECOND);
        assert_eq!(clock.at(begun + 10 * SECOND), begun + 3 * SECOND);
        assert_eq!(clock.at_running(begun), begun + 2 * SECOND);
        let scheduled = begun + 3 * SECOND;
        assert_eq!(clock.real_at(scheduled), Some(begun + 10 * SECOND));
    }

    #[test]
    fn the_time_moves_on_after_a_suspension() {
        let mut clock = Clock::default();
        let before = clock.now();
        let begun = Instant::now();
        clock.suspend(begun, begun + SECOND);
        let now = Instant::now() + SECOND;
        assert!(clock.at(now) >= before);
        assert!(clock.running() <= clock.now());
    }
}
