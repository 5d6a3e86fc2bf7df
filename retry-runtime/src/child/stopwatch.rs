//! How long inputs take, without a look at the clock for each that takes next to nothing.
//!
//! To read the clock takes longer than many functions do. The clock of the kernel's ticks takes a
//! fifth of that, and is all that is read after most of those inputs of a chunk that follow quick
//! ones: their time is counted with the next one's, or the tick ends. Only where nobody limits it.

use crate::sys;

/// How many ends in a row may go by without a look at the clock.
const UNREAD: u32 = 7;

/// How many nanoseconds an input takes at most that is quick.
const QUICK: u64 = 1000;

/// Where the time comes from, in nanoseconds on the monotonic clock.
pub(super) trait Clock {
    fn now(&self) -> u64;
    /// What it was at a tick, which is the last one or a little older.
    fn tick(&self) -> u64;
}

/// The kernel's.
pub(super) struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> u64 {
        sys::monotonic_nanos()
    }

    fn tick(&self) -> u64 {
        sys::coarse_nanos()
    }
}

/// Times one input after the other.
pub(super) struct Stopwatch<C = Monotonic> {
    clock: C,
    /// Whether the next input begins where the last one has ended.
    runs: bool,
    /// Until when all is counted.
    counted: u64,
    /// The tick of that moment.
    tick: u64,
    /// How many inputs have ended since.
    unread: u32,
    /// Whether what was counted last was quick.
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

    /// An input begins: when that was. Where its time is not limited that may be when one of the
    /// inputs before it has.
    pub(super) fn begin(&mut self) -> u64 {
        if !self.runs {
            self.read();
            self.runs = true;
        }
        self.counted
    }

    /// An input has ended and the next one begins at once, under the same limits. How many nanoseconds
    /// are to be counted for it: none, if its time is to be a part of what one of the next few counts.
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

    /// An input has ended whose own time matters. It is too long by what was not counted for those
    /// before it.
    pub(super) fn end(&mut self) -> u64 {
        self.stop();
        self.read()
    }

    /// What comes next is nobody's time, nor is what was not counted yet: where the one ends and the
    /// other begins is not known.
    pub(super) fn stop(&mut self) {
        self.runs = false;
    }

    /// How long it is since the last look at the clock.
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

    /// How often it was read, and a time that goes by when a test says so.
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
                // Somebody waits.
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
    fn the_clock_is_read_for_some_of_those_that_are_quick() {
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
    fn the_clock_is_read_for_each_that_is_not() {
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
    fn whoever_has_a_limit_has_begun_when_he_did_and_took_what_he_took() {
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
