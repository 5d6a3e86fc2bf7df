//! Measures how long inputs take, without reading the clock for each input of a very fast function.
//!
//! Reading the clock takes longer than many functions do. Reading the kernel's tick clock takes a fifth of
//! that. Within a chunk, after inputs that were quick, the stopwatch reads only the tick clock after most
//! inputs: their time is counted with one of the next inputs, at the latest when the tick changes. Inputs
//! with a time limit always read the clock.

use crate::sys;

/// Consecutive inputs that may end without a reading of the clock.
const UNREAD: u32 = 7;

/// Longest duration of a quick input, in nanoseconds.
const QUICK: u64 = 1000;

/// A source of time, in nanoseconds on the monotonic clock.
pub(super) trait Clock {
    fn now(&self) -> u64;
    /// Returns the time at a recent tick: the last one, or a slightly older one.
    fn tick(&self) -> u64;
}

/// The kernel's monotonic clock.
pub(super) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> u64 {
        sys::monotonic_nanos()
    }

    fn tick(&self) -> u64 {
        sys::coarse_nanos()
    }
}

/// Times inputs one after the other.
pub(super) struct Stopwatch<C = Monotonic> {
    clock: C,
    /// Whether the next input begins where the last one ended.
    runs: bool,
    /// The last reading of the clock: all time before it is counted.
    counted: u64,
    /// The tick at that reading.
    tick: u64,
    /// Inputs that have ended since that reading.
    unread: u32,
    /// Whether the inputs of the last reading were quick.
    quick: bool,
}

impl Stopwatch {
    pub(super) fn new() -> Self {
        Self::with(Monotonic)
    }
}

impl<C: Clock> Stopwatch<C> {
    fn with(clock: C) -> Self {
        Self {
            clock,
            runs: false,
            counted: 0,
            tick: 0,
            unread: 0,
            quick: false,
        }
    }

    /// Begins an input and returns when it began. Without a time limit, the result may be the time at which
    /// an earlier input began.
    pub(super) fn begin(&mut self) -> u64 {
        if !self.runs {
            self.read();
            self.runs = true;
        }
        self.counted
    }

    /// Ends an input whose successor begins at once, under the same limits. Returns the nanoseconds to count
    /// for it: 0 if its time will be counted with one of the next few inputs.
    pub(super) fn lap(&mut self, limited: bool) -> u64 {
        let skips = self.quick && self.unread < UNREAD && !limited;
        if skips && self.clock.tick() == self.tick {
            self.unread += 1;
            return 0;
        }
        let inputs = u64::from(self.unread) + 1;
        let duration = self.read();
        self.quick = duration <= QUICK * inputs;
        duration
    }

    /// Ends an input whose own duration matters. The result includes the time that was not counted for
    /// earlier inputs.
    pub(super) fn end(&mut self) -> u64 {
        self.stop();
        self.read()
    }

    /// Stops counting until the next `begin`. Time that was not counted yet is lost with it, because the
    /// boundary between the two is unknown.
    pub(super) fn stop(&mut self) {
        self.runs = false;
    }

    /// Reads the clock and returns the time since the last reading.
    fn read(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.counted, self.clock.now());
        self.tick = self.clock.tick();
        self.unread = 0;
        self.counted.saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const TICK: u64 = 4_000_000;

    /// A clock that counts its readings, and whose time advances when a test says so.
    #[derive(Default)]
    struct Fake {
        now: Cell<u64>,
        read: Cell<u32>,
    }

    impl Clock for &Fake {
        fn now(&self) -> u64 {
            self.read.set(self.read.get() + 1);
            self.now.get()
        }

        fn tick(&self) -> u64 {
            self.now.get() / TICK * TICK
        }
    }

    impl Fake {
        fn pass(&self, nanos: u64) {
            self.now.set(self.now.get() + nanos);
        }
    }

    #[test]
    fn all_time_is_counted_once() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = Fake::default();
        let mut stopwatch = Stopwatch::with(&clock);
        let (mut counted, mut passed) = (0, 0);
        for _ in 0..10_000 {
            stopwatch.begin();
            let longest = 1 << random.u32(4..24);
            let nanos = random.u64(..longest);
            clock.pass(nanos);
            passed += nanos;
            counted += if random.u8(..50) == 0 {
                let duration = stopwatch.end();
                // Time that belongs to no input, such as a wait.
                clock.pass(random.u64(..TICK));
                assert!(duration >= nanos);
                duration
            } else {
                stopwatch.lap(false)
            };
        }
        stopwatch.begin();
        counted += stopwatch.end();
        assert_eq!(counted, passed);
    }

    #[test]
    fn quick_inputs_share_a_clock_reading() {
        let clock = Fake::default();
        let mut stopwatch = Stopwatch::with(&clock);
        for _ in 0..1000 {
            stopwatch.begin();
            clock.pass(100);
            stopwatch.lap(false);
        }
        assert_eq!(clock.read.get(), 1 + 1 + 999 / (UNREAD + 1));
    }

    #[test]
    fn each_slow_input_reads_the_clock() {
        let clock = Fake::default();
        let mut stopwatch = Stopwatch::with(&clock);
        for _ in 0..1000 {
            let begun = stopwatch.begin();
            assert_eq!(begun, clock.now.get());
            clock.pass(QUICK + 1);
            assert_eq!(stopwatch.lap(false), QUICK + 1);
        }
    }

    #[test]
    fn limited_inputs_are_timed_exactly() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = Fake::default();
        let mut stopwatch = Stopwatch::with(&clock);
        for _ in 0..100_000 {
            assert_eq!(stopwatch.begin(), clock.now.get());
            let nanos = match random.u8(..100) {
                0 => random.u64(..3 * TICK),
                _ => random.u64(..QUICK),
            };
            clock.pass(nanos);
            assert_eq!(stopwatch.lap(true), nanos);
            if random.u8(..30) == 0 {
                stopwatch.stop();
                clock.pass(random.u64(..TICK));
            }
        }
    }
}
