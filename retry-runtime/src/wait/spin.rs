//! How long a thread looks for something before it sleeps.
//!
//! To wake a thread on another core takes longer than a whole call does, so what comes soon is
//! worth to be looked for. What comes late is not: the core has better things to do. Each place
//! where something is waited for has its [`Patience`], which learns from how long it took the
//! last times. Where somebody else wants the core, nobody looks for a while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::sys;

/// The longest look, in nanoseconds: about what it takes to wake a thread.
const LONGEST: u64 = 50_000;

/// The longest look for the next part of a large message: the other side has begun to copy it, and
/// may first have to be given memory for it.
const PART: u64 = 500_000;

/// A shorter look is not worth it.
const SHORTEST: u64 = 2_000;

/// What took no longer than this may have been late only because somebody had to be woken.
const SOON: u64 = 150_000;

/// Who gives up the core for a moment and gets it back after so long was not alone on it.
const CROWDED: u64 = 20_000;

/// For how many times as long as that took nobody looks then: so the time that is lost by looking
/// on a core that others want is a small part of all time.
const RESPITE: u64 = 50;

/// The longest that nobody looks.
const LONGEST_RESPITE: u64 = 500_000_000;

/// How many looks are taken before the clock is.
const LOOKS: u32 = 8;

/// For how long the core is kept before it is offered to others: what is quick takes less, and to
/// offer it takes almost as long as a call.
const KEPT: u64 = 2_000;

/// Who gives up the core for a moment and gets it back after so long shares it with somebody.
const SHARED: u64 = 2_000;

static ENABLED: AtomicBool = AtomicBool::new(true);

/// Until when nobody is to look, on the monotonic clock; zero if there is no such time.
static RESPITE_ENDS: AtomicU64 = AtomicU64::new(0);

/// Whether anybody is to look at all.
pub(crate) fn enable(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

/// Whether somebody else wanted the core a moment ago.
fn is_crowded() -> bool {
    let ends = RESPITE_ENDS.load(Ordering::Relaxed);
    if ends == 0 {
        return false;
    }
    let crowded = sys::monotonic_nanos() < ends;
    if !crowded {
        // Unless it has just begun anew.
        let _ = RESPITE_ENDS.compare_exchange(ends, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
    crowded
}

/// How long it is worth to look, as far as is known.
#[derive(Debug)]
pub(crate) struct Patience {
    longest: u64,
    /// What was looked for came from somebody on the same core, who can only go on when this thread
    /// does not.
    shares: bool,
}

impl Patience {
    pub(crate) const fn new() -> Self {
        Self {
            longest: LONGEST,
            shares: false,
        }
    }

    /// Whether it is not worth it to look, as far as is known.
    pub(crate) fn is_over(&self) -> bool {
        self.longest == 0
    }

    /// Begins to look.
    pub(crate) fn spin(&self) -> Spin {
        let looks = self.longest > 0 && ENABLED.load(Ordering::Relaxed) && !is_crowded();
        Spin {
            // Who looks takes the clock when it is needed.
            begun: (!looks).then(sys::monotonic_nanos),
            offered: 0,
            patience: if looks { self.longest } else { 0 },
            usual: self.longest,
            shares: self.shares,
            looks: 0,
        }
    }

    /// What was looked for has come.
    pub(crate) fn learn(&mut self, spin: &Spin) {
        self.shares = spin.shares;
        let took = spin
            .begun
            .map_or(0, |begun| sys::monotonic_nanos().saturating_sub(begun));
        self.longest = match self.longest / 2 {
            _ if took < SOON => LONGEST,
            half if half < SHORTEST => 0,
            half => half,
        };
    }
}

/// A look that has begun.
#[derive(Debug)]
pub(crate) struct Spin {
    /// When, once it has lasted for longer than a few looks.
    begun: Option<u64>,
    /// When the core was last offered to others.
    offered: u64,
    patience: u64,
    /// The same before a part of something was found.
    usual: u64,
    shares: bool,
    looks: u32,
}

impl Spin {
    /// Called where a look has found nothing: whether to look again.
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
        if offers || now.saturating_sub(self.offered.max(begun)) >= KEPT {
            now = self.offer(now);
        }
        now.saturating_sub(begun) < self.patience
    }

    /// Gives up the core for a moment, if anybody wants it. Returns the time after that.
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

    /// Looks until there is `enough`, or until it is not worth it any longer: which of both.
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

    /// Something was found: what comes next may take as long again.
    pub(crate) fn found(&mut self) {
        self.goes_on_for(self.usual);
    }

    /// A part of something was found: the rest is being written.
    pub(crate) fn found_part(&mut self) {
        self.goes_on_for(PART);
    }

    fn goes_on_for(&mut self, patience: u64) {
        // Who may not look at all does not begin to.
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
    fn who_waits_in_vain_looks_no_longer_until_something_comes_soon() {
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
        assert_eq!(patience.longest, LONGEST);
    }
}
