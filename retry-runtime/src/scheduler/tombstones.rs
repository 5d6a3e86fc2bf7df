//! What is left in a collection of things that are over.

/// So few are not worth a sweep.
const FEW: usize = 64;

/// How much of a collection may be pointless by now.
///
/// It is swept once that may be half of it: then it is never much larger than what is alive, and
/// what becomes pointless pays for the sweep.
#[derive(Debug, Default)]
pub(super) struct Tombstones(usize);

impl Tombstones {
    /// So many more are pointless. Whether it is time to sweep the collection, which is to be done
    /// then.
    pub(super) fn add(&mut self, more: usize, all: usize) -> bool {
        self.0 += more;
        let due = self.0 > FEW && 2 * self.0 > all;
        if due {
            self.0 = 0;
        }
        due
    }
}
