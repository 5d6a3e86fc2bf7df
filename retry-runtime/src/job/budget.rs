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
    attempts: AtomicU64,
    retries: AtomicU64,
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
            attempts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
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
        let attempts = self.attempts.load(Ordering::Relaxed) as f64;
        let retries = (self.retries.load(Ordering::Relaxed) + 1) as f64;
        let allowed = retries <= FLOOR.max(self.ratio * attempts);
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
    fn retries_are_limited_to_a_share_of_the_attempts() {
        let budget = Budget::new(0.1);
        assert_eq!((0..100).filter(|_| budget.try_retry()).count(), 10);
        budget.count_attempts(1000);
        assert_eq!((0..1000).filter(|_| budget.try_retry()).count(), 90);
    }
}
