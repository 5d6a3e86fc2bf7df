//! Repeatable random numbers.

/// Runs a closure many times with random numbers and prints their seed: `RETRY_SEED=<seed>` repeats the same
/// numbers.
pub fn seeded(rounds: u32, mut round: impl FnMut(&mut fastrand::Rng, u32)) {
    let given = std::env::var("RETRY_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("RETRY_SEED={seed}");
    for number in 0..rounds {
        let blame = Blame(number);
        // Each round has its own generator, so that its numbers do not depend on earlier rounds.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(number.into()));
        round(&mut random, number);
        drop(blame);
    }
}

/// Prints the number of the round if the round panics.
struct Blame(u32);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in round {}", self.0);
        }
    }
}
