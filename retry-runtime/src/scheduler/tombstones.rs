//! Lazy deletion: counts stale entries so that a collection is swept in time.

/// The number of stale entries up to which a sweep does not pay.
const FEW: usize = 64;

/// The number of entries in a collection that may be stale.
///
/// The collection is swept once more than half of it may be stale. It is then never much larger
/// than its live entries, and the stale entries pay for the sweep.
#[derive(Debug, Default)]
pub(super) struct Tombstones(usize);

impl Tombstones {
    /// Counts stale entries. Returns whether the caller must sweep the collection, which has `all`
    /// entries, now.
    pub(super) fn add(&mut self, more: usize, all: usize) -> bool {
        self.0 += more;
        let due = self.0 > FEW && 2 * self.0 > all;
        if due {
            self.0 = 0;
        }
        due
    }
}
