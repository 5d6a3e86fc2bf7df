//! Delays between attempts to reach the server.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(50);

const LONGEST: Duration = Duration::from_secs(2);

/// The time that a server takes at least before it answers a poll with nothing. A proxy may do so at once.
const POLL: Duration = Duration::from_secs(1);

/// A delay that doubles, with a random part, so that many processes do not come back at once.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(LONGEST);
        let random = u32::try_from(random() % 512).unwrap_or_default();
        delay / 2 + delay * random / 1024
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Returns the delay after a poll that was answered with nothing: none, unless that was sooner than a server does it.
    pub(crate) fn after_poll(&mut self, begun: Instant) -> Duration {
        if begun.elapsed() < POLL {
            return self.next();
        }
        *self = Self::new();
        Duration::ZERO
    }
}

/// Returns a random number.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_limit() {
        let mut backoff = Backoff::new();
        let delays: Vec<Duration> = (0..20).map(|_| backoff.next()).collect();
        assert!(delays[0] >= FIRST / 2 && delays[0] <= FIRST);
        assert!(delays[19] >= LONGEST / 2 && delays[19] <= LONGEST);
    }
}
