//! Decides how long a thread spins before it parks.
//!
//! Waking a thread on another core takes longer than a whole call, so spinning pays for answers that come
//! soon. For answers that come late it wastes the core. Each place that waits has its [`Patience`], which
//! learns from the last waits there. When another thread wants the core, no thread spins for a while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::sys;

/// The longest time to spin, in nanoseconds: about the time to wake a thread.
const MAX_SPIN_NANOS: u64 = 50_000;

/// The longest time to spin for the next part of a large message. The other side has begun to copy it, and
/// the kernel may first have to give it memory.
const PART: u64 = 500_000;

/// Spinning for less time than this is not worth it.
const SHORTEST: u64 = 2_000;

/// An answer that took no longer than this may have been late only because a thread had to be woken.
const SOON: u64 = 150_000;

/// If `yield_now` takes longer than this, another thread was runnable on this core, and spinning stops.
const CROWDED: u64 = 20_000;

/// The pause of all spinning after that, as a multiple of the time that `yield_now` took. It keeps the time
/// that is lost by spinning on a contended core a small part of all time.
const RESPITE: u64 = 50;

/// The longest pause of all spinning.
const LONGEST_RESPITE: u64 = 500_000_000;

/// The number of looks between two readings of the clock.
const LOOKS: u32 = 8;

/// The time for which a thread spins before it yields. Quick answers take less, and to yield takes almost as
/// long as a call.
const SPIN_BEFORE_YIELD: u64 = 2_000;

/// If `yield_now` takes longer than this, the other side shares this core.
const SHARED: u64 = 2_000;

static ENABLED: AtomicBool = AtomicBool::new(true);

/// The end of the pause of all spinning, on the monotonic clock; zero if there is none.
static RESPITE_ENDS: AtomicU64 = AtomicU64::new(0);

/// Allows or forbids spinning in this process.
pub(crate) fn enable(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

/// Returns whether another thread wanted a core a moment ago.
fn is_crowded() -> bool {
    let ends = RESPITE_ENDS.load(Ordering::Relaxed);
    if ends == 0 {
        return false;
    }
    let crowded = sys::monotonic_nanos() < ends;
    if !crowded {
        // Unless another pause has just begun.
        let _ = RESPITE_ENDS.compare_exchange(ends, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
    crowded
}

/// The time for which spinning pays at one place, as far as is known.
#[derive(Debug)]
pub(crate) struct Patience {
    longest: u64,
    /// True if the last answer came from the same core, where the other side can only run while this
    /// thread does not.
    shares: bool,
}

impl Patience {
    pub(crate) const fn new() -> Self {
        Self {
            longest: MAX_SPIN_NANOS,
            shares: false,
        }
    }

    /// Returns whether spinning does not pay, as far as is known.
    pub(crate) fn is_over(&self) -> bool {
        self.longest == 0
    }

    /// Begins to spin.
    pub(crate) fn spin(&self) -> Spin {
        let looks = self.longest > 0 && ENABLED.load(Ordering::Relaxed) && !is_crowded();
        Spin {
            // A thread that spins reads the clock when it is needed.
            begun: (!looks).then(sys::monotonic_nanos),
            offered: 0,
            patience: if looks { self.longest } else { 0 },
            usual: self.longest,
            shares: self.shares,
            looks: 0,
        }
    }

    /// Learns from a wait that has ended.
    pub(crate) fn learn(&mut self, spin: &Spin) {
        self.shares = spin.shares;
        let took = spin
            .begun
            .map_or(0, |begun| sys::monotonic_nanos().saturating_sub(begun));
        self.longest = match self.longest / 2 {
            _ if took < SOON => MAX_SPIN_NANOS,
            half if half < SHORTEST => 0,
            half => half,
        };
    }
}

/// One wait, during which the thread spins.
#[derive(Debug)]
pub(crate) struct Spin {
    /// The begin, once the wait has lasted for more than a few looks.
    begun: Option<u64>,
    /// The time of the last yield.
    offered: u64,
    patience: u64,
    /// The patience before a part of a large message was found.
    usual: u64,
    shares: bool,
    looks: u32,
}

impl Spin {
    /// Returns whether to look again, after a look that has found nothing.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.patience == 0 {
            return false;
        }
        self.looks += 1;
        let offers = self.shares && self.looks == 1;
        if !self.looks.is_multiple_of(LOOKS) && !offers {
            std::hint::spin_loop();
            return true;
        }
        let mut now = sys::monotonic_nanos();
        let begun = *self.begun.get_or_insert(now);
        if offers || now.saturating_sub(self.offered.max(begun)) >= SPIN_BEFORE_YIELD {
            now = self.offer(now);
        }
        now.saturating_sub(begun) < self.patience
    }

    /// Yields the core to other threads, if any of them can run. Returns the time after that.
    fn offer(&mut self, before: u64) -> u64 {
        thread::yield_now();
        let now = sys::monotonic_nanos();
        let lost = now.saturating_sub(before);
        self.offered = now;
        self.shares = lost > SHARED;
        if lost > CROWDED {
            let respite = lost.saturating_mul(RESPITE).min(LONGEST_RESPITE);
            RESPITE_ENDS.store(now + respite, Ordering::Relaxed);
            self.patience = 0;
        }
        now
    }

    /// Spins until there is `enough` or the patience is over. Returns whether there is enough.
    pub(crate) fn look_until(&mut self, enough: &mut dyn FnMut() -> bool) -> bool {
        loop {
            if enough() {
                return true;
            }
            if !self.goes_on() {
                return false;
            }
        }
    }

    /// Renews the patience: the next answer may take as long again.
    pub(crate) fn found(&mut self) {
        self.goes_on_for(self.usual);
    }

    /// Renews the patience for the rest of a large message, which is being written.
    pub(crate) fn found_part(&mut self) {
        self.goes_on_for(PART);
    }

    fn goes_on_for(&mut self, patience: u64) {
        // A thread that may not spin at all does not begin to.
        if self.patience > 0 {
            self.patience = patience;
        }
        self.begun = None;
        self.looks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_stops_after_late_answers_and_resumes_after_a_soon_one() {
        let mut patience = Patience::new();
        let mut late = patience.spin();
        late.begun = Some(0);
        for _ in 0..8 {
            patience.learn(&late);
        }
        assert_eq!(patience.longest, 0);
        assert!(!patience.spin().goes_on());
        let soon = patience.spin();
        patience.learn(&soon);
        assert_eq!(patience.longest, MAX_SPIN_NANOS);
    }
}
