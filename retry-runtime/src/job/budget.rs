//! Limits the share of a map's attempts that may be retries.

use std::sync::atomic::{AtomicU64, Ordering};

/// Retries that are always allowed, because the share of a few attempts is not meaningful.
const FLOOR: f64 = 10.0;

/// The attempts and retries of one map.
#[derive(Debug)]
pub(crate) struct Budget {
    /// A random number, the same in each process that knows the budget. Unlike an address it is not used
    /// again after the map has ended, while another process may still have calls of it.
    id: u64,
    ratio: f64,
    /// The number of retries that are allowed whatever the attempts.
    floor: f64,
    /// The number of retries that are allowed beyond the share.
    extra: u64,
    attempts: AtomicU64,
    retries: AtomicU64,
    /// The number of retries that other machines may make now.
    lent: AtomicU64,
}

impl Budget {
    pub(crate) fn new(ratio: f64) -> Self {
        Self::received(fastrand::u64(..), ratio)
    }

    /// Creates this process's counts of a budget that another process has created.
    pub(crate) fn received(id: u64, ratio: f64) -> Self {
        Self {
            id,
            ratio,
            floor: FLOOR,
            extra: 0,
            attempts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            lent: AtomicU64::new(0),
        }
    }

    /// Creates the counts of calls whose map is on another machine, which has [lent](Self::lend) them retries.
    pub(crate) fn lent(ratio: f64, retries: u64) -> Self {
        Self {
            floor: 0.0,
            extra: retries,
            ..Self::new(ratio)
        }
    }

    /// Lends retries to another machine that gets `calls` calls, and returns how many.
    pub(crate) fn lend(&self, calls: u32) -> u64 {
        let given = self.retries.load(Ordering::Relaxed) + self.lent.load(Ordering::Relaxed);
        let lent = (self.limit() as u64)
            .saturating_sub(given)
            .min(calls.into());
        self.lent.fetch_add(lent, Ordering::Relaxed);
        lent
    }

    /// Takes back what was lent, of which the other machine has used some.
    pub(crate) fn take_back(&self, lent: u64, attempts: u64, retries: u64) {
        self.lent.fetch_sub(lent, Ordering::Relaxed);
        self.attempts.fetch_add(attempts, Ordering::Relaxed);
        self.retries.fetch_add(retries, Ordering::Relaxed);
    }

    /// Returns the numbers of attempts and retries.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let [attempts, retries] = [&self.attempts, &self.retries];
        (
            attempts.load(Ordering::Relaxed),
            retries.load(Ordering::Relaxed),
        )
    }

    fn limit(&self) -> f64 {
        let attempts = self.attempts.load(Ordering::Relaxed) as f64;
        self.floor.max(self.ratio * attempts) + self.extra as f64
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.ratio
    }

    /// Counts attempts that have ended.
    pub(crate) fn count_attempts(&self, attempts: u32) {
        self.attempts.fetch_add(attempts.into(), Ordering::Relaxed);
    }

    /// Returns whether another retry is allowed, and counts it if so.
    pub(crate) fn try_retry(&self) -> bool {
        let retries = (self.retries.load(Ordering::Relaxed) + 1) as f64;
        let allowed = retries <= self.limit();
        if allowed {
            self.retries.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With addresses the allocator would give the second budget the id of the first.
    #[test]
    fn a_budget_never_has_the_id_of_an_earlier_one() {
        let mut ids = std::collections::HashSet::new();
        for _ in 0..1000 {
            let budget = std::sync::Arc::new(Budget::new(0.1));
            assert!(ids.insert(budget.id()));
        }
    }

    #[test]
    fn a_received_budget_keeps_its_id() {
        let budget = Budget::new(0.1);
        assert_eq!(Budget::received(budget.id(), 0.1).id(), budget.id());
    }

    #[test]
    fn machines_share_what_is_lent_to_them() {
        let budget = Budget::new(0.1);
        let (first, second, third) = (budget.lend(8), budget.lend(8), budget.lend(8));
        assert_eq!((first, second, third), (8, 2, 0));
        let there = Budget::lent(0.1, first);
        assert_eq!((0..20).filter(|_| there.try_retry()).count(), 8);
        there.count_attempts(30);
        assert_eq!((0..20).filter(|_| there.try_retry()).count(), 3);
        let (attempts, retries) = there.counts();
        budget.take_back(first, attempts, retries);
        assert_eq!(budget.counts(), (30, 11));
        assert_eq!(budget.lend(8), 0, "it has earned more than the caller had");
        budget.take_back(second, 500, 0);
        assert_eq!(budget.lend(100), 42);
    }

    #[test]
    fn retries_are_limited_to_a_share_of_the_attempts() {
        let budget = Budget::new(0.1);
        assert_eq!((0..100).filter(|_| budget.try_retry()).count(), 10);
        budget.count_attempts(1000);
        assert_eq!((0..1000).filter(|_| budget.try_retry()).count(), 90);
    }
}
