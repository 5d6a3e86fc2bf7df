//! The point at which a call resumes: what one scheduler knows of its attempts, for another one to go on from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::outcome::Failure;
use crate::api::context::{Attempt, AttemptOutcome, remember};

/// The attempts that a call has behind it, and when the next one is due.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resumption {
    /// The number of the next attempt, from 1.
    pub(crate) attempt: u32,
    /// The number of failures that were charged to the retry policy.
    pub(crate) failures: u32,
    /// Set once one of those failures was a panic.
    pub(crate) panicked: bool,
    pub(crate) crashes: u32,
    pub(crate) attempts: Vec<Attempt>,
    /// The last of those failures, which the caller gets if the deadline ends the retries.
    #[serde(with = "whole")]
    pub(crate) last: Option<Failure>,
    /// The time until the next attempt may begin.
    pub(crate) delay: Duration,
    /// The rest of the deadline, if there is one and it has begun.
    pub(crate) left: Option<Duration>,
}

impl Default for Resumption {
    /// Returns the state of a call that has no attempt behind it.
    fn default() -> Self {
        Self {
            attempt: 1,
            failures: 0,
            panicked: false,
            crashes: 0,
            attempts: Vec::new(),
            last: None,
            delay: Duration::ZERO,
            left: None,
        }
    }
}

impl Resumption {
    /// Returns the state of a call whose first attempt is due later.
    pub(crate) fn starting_after(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// Returns the state without the texts of the attempts, which may be large.
    pub(crate) fn numbers(&self) -> Self {
        Self {
            attempts: Vec::new(),
            last: None,
            ..*self
        }
    }

    /// Records an attempt on a machine that was lost. It is charged to no policy.
    pub(crate) fn record_lost_host(&mut self, host: &str, now: std::time::Instant) {
        let attempt = Attempt {
            number: self.attempt,
            worker_pid: None,
            host: host.to_owned().into(),
            start: now,
            duration: Duration::ZERO,
            outcome: AttemptOutcome::HostLost,
            error: None,
        };
        remember(&mut self.attempts, attempt);
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Returns whether the numbers can be those of a call. They come from outside, and must not overflow.
    pub(crate) fn is_possible(&self) -> bool {
        let most = u32::MAX / 2;
        (1..most).contains(&self.attempt) && self.failures < most && self.crashes < most
    }

    /// Takes time that has passed off the delay and the deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.delay = self.delay.saturating_sub(time);
        self.left = self.left.map(|left| left.saturating_sub(time));
    }

    /// Returns whether the call has nothing behind it, so that it need not be sent along.
    pub(crate) fn is_new(&self) -> bool {
        self.attempt == 1 && self.left.is_none() && self.delay.is_zero()
    }
}

/// A failure with the function's error, which is sent separately elsewhere.
mod whole {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::job::outcome::Failure;

    #[derive(Serialize, Deserialize)]
    enum Whole {
        Function(Vec<u8>),
        Other(Failure),
    }

    pub(super) fn serialize<S: Serializer>(
        failure: &Option<Failure>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let whole = failure.clone().map(|failure| match failure {
            Failure::Function(error) => Whole::Function(error.into()),
            other => Whole::Other(other),
        });
        whole.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Failure>, D::Error> {
        let whole = Option::<Whole>::deserialize(from)?;
        Ok(whole.map(|whole| match whole {
            Whole::Function(error) => Failure::Function(Bytes::from(error)),
            Whole::Other(other) => other,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::codec;

    #[test]
    fn a_resumption_arrives_whole() {
        let mut sent = Resumption {
            failures: 2,
            panicked: true,
            crashes: 1,
            last: Some(Failure::Function(Bytes::from_static(b"error"))),
            delay: Duration::from_secs(5),
            left: Some(Duration::from_secs(60)),
            ..Resumption::default()
        };
        sent.record_lost_host("w1", Instant::now());
        let mut bytes = Vec::new();
        codec::encode(&sent, &mut bytes, usize::MAX).unwrap();
        let received: Resumption = codec::decode_all(&bytes).unwrap();
        assert_eq!(received.attempt, 2);
        assert_eq!(received.attempts[0].outcome, AttemptOutcome::HostLost);
        assert_eq!(received.attempts[0].host, "w1");
        assert_eq!((received.failures, received.crashes), (2, 1));
        assert!(matches!(received.last, Some(Failure::Function(error)) if error == "error"));
        assert_eq!(received.left, sent.left);
    }

    #[test]
    fn time_passes_for_the_delay_and_the_deadline() {
        let mut resumption = Resumption {
            delay: Duration::from_secs(3),
            left: Some(Duration::from_secs(4)),
            ..Resumption::default()
        };
        resumption.pass(Duration::from_secs(2));
        assert_eq!(resumption.delay, Duration::from_secs(1));
        assert_eq!(resumption.left, Some(Duration::from_secs(2)));
        resumption.pass(Duration::from_secs(3));
        assert_eq!(
            (resumption.delay, resumption.left),
            (Duration::ZERO, Some(Duration::ZERO))
        );
        assert!(!resumption.is_new());
    }
}
