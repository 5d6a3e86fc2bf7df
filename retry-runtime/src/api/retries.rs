//! Retry policies: the number of further attempts, and the delays between them.

use std::time::Duration;

/// A retry policy: how many further attempts a failing call gets, and the delay before each.
///
/// It is the value of the option `retries`, and of the methods of that name. `N` retries are at most `N + 1`
/// attempts. The delay before retry `n` (counted from 1) is
///
/// ```text
/// delay(n) = min(initial_delay * backoff_coefficient^(n - 1), max_delay)
/// ```
///
/// and, with [`jitter`](Retries::jitter), a uniformly random time between zero and that ("full jitter", as in
/// the AWS Architecture Blog's *Exponential Backoff And Jitter*).
///
/// All constructors are `const`, so the compiler refuses an invalid policy:
///
/// ```
/// use retry_runtime::Retries;
/// use std::time::Duration;
///
/// const POLICY: Retries = Retries::exponential(5)
///     .initial_delay(Duration::from_millis(200))
///     .max_delay(Duration::from_secs(1));
///
/// let delays: Vec<_> = POLICY.schedule().map(|delay| delay.as_millis()).collect();
/// assert_eq!(delays, [200, 400, 800, 1000, 1000]);
/// ```
///
/// ```compile_fail
/// # use retry_runtime::Retries;
/// const TOO_STEEP: Retries = Retries::exponential(5).backoff_coefficient(10.5);
/// ```
///
/// ```compile_fail
/// # use retry_runtime::{Retries, function};
/// # use std::time::Duration;
/// const STARTS_ABOVE_ITS_CAP: Retries =
///     Retries::exponential(3).initial_delay(Duration::from_secs(61));
///
/// #[function(retries = STARTS_ABOVE_ITS_CAP)]
/// fn f() {}
/// ```
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Retries {
    max_retries: u32,
    backoff_coefficient: f64,
    initial_delay: Duration,
    max_delay: Duration,
    jitter: bool,
}

impl Retries {
    /// The longest delay that a policy may ask for.
    pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Returns a policy of parts that are checked elsewhere.
    pub(crate) const fn unchecked(
        max_retries: u32,
        backoff_coefficient: f64,
        initial_delay: Duration,
        max_delay: Duration,
        jitter: bool,
    ) -> Self {
        Self {
            max_retries,
            backoff_coefficient,
            initial_delay,
            max_delay,
            jitter,
        }
    }

    /// Returns whether the builder accepts these values. They may come from another process.
    pub(crate) fn is_valid(&self) -> bool {
        (1.0..=10.0).contains(&self.backoff_coefficient)
            && self.initial_delay <= self.max_delay
            && self.max_delay <= Self::LONGEST_DELAY
    }

    /// Returns a policy without retries: the first failure is final.
    #[must_use]
    pub const fn none() -> Self {
        Self::fixed(0, Duration::ZERO)
    }

    /// Returns a policy of `max_retries` further attempts with the same `delay` before each.
    ///
    /// A delay of zero means at once: no timer is involved.
    ///
    /// # Panics
    ///
    /// Panics if `delay` is longer than 24 hours; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn fixed(max_retries: u32, delay: Duration) -> Self {
        check_longest(delay);
        Self {
            max_retries,
            backoff_coefficient: 1.0,
            initial_delay: delay,
            max_delay: delay,
            jitter: false,
        }
    }

    /// Returns a policy of `max_retries` further attempts, with delays that double from one second up to 60
    /// seconds.
    #[must_use]
    pub const fn exponential(max_retries: u32) -> Self {
        Self {
            max_retries,
            backoff_coefficient: 2.0,
            initial_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            jitter: false,
        }
    }

    /// Sets the factor between consecutive delays, from 1.0 to 10.0.
    ///
    /// # Panics
    ///
    /// Panics outside that range; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn backoff_coefficient(mut self, coefficient: f64) -> Self {
        assert!(
            coefficient >= 1.0 && coefficient <= 10.0,
            "`backoff_coefficient` must be between 1.0 (fixed delay) and 10.0"
        );
        self.backoff_coefficient = coefficient;
        self
    }

    /// Sets the delay before the first retry.
    ///
    /// It must not be longer than the cap. That is checked where the policy is used, so that the two can be
    /// set in either order.
    #[must_use]
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// Sets the cap on every delay, at most 24 hours.
    ///
    /// # Panics
    ///
    /// Panics if `delay` is longer than 24 hours; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        check_longest(delay);
        self.max_delay = delay;
        self
    }

    /// Draws each delay uniformly between zero and its nominal length, so that calls that failed together
    /// are not retried together.
    #[must_use]
    pub const fn jitter(mut self) -> Self {
        self.jitter = true;
        self
    }

    /// Returns the number of further attempts.
    #[must_use]
    pub const fn max_retries(&self) -> u32 {
        self.max_retries
    }

    pub(crate) const fn is_jittered(&self) -> bool {
        self.jitter
    }

    /// Returns the nominal delay before retry number `retry`, counted from 1.
    ///
    /// With jitter this is the longest possible delay. Returns `None` if the policy has no such retry.
    ///
    /// # Panics
    ///
    /// Panics if the initial delay is longer than the cap.
    #[must_use]
    pub fn delay(&self, retry: u32) -> Option<Duration> {
        let policy = self.checked();
        if retry == 0 || retry > policy.max_retries {
            return None;
        }
        let exponent = i32::try_from(retry - 1).unwrap_or(i32::MAX);
        let seconds =
            policy.initial_delay.as_secs_f64() * policy.backoff_coefficient.powi(exponent);
        // Beyond the cap the product may be infinite, or NaN for a zero delay times infinity.
        if policy.backoff_coefficient == 1.0 || policy.initial_delay.is_zero() {
            Some(policy.initial_delay)
        } else if seconds < policy.max_delay.as_secs_f64() {
            Some(Duration::from_secs_f64(seconds))
        } else {
            Some(policy.max_delay)
        }
    }

    /// Returns the nominal delays before all retries, in order.
    pub fn schedule(&self) -> impl Iterator<Item = Duration> + use<> {
        let policy = *self;
        (1..=policy.max_retries).map_while(move |retry| policy.delay(retry))
    }

    /// Returns the delay before retry number `retry`, with the jitter drawn.
    pub(crate) fn draw_delay(&self, retry: u32, random: &mut fastrand::Rng) -> Option<Duration> {
        let nominal = self.delay(retry)?;
        Some(if self.jitter {
            nominal.mul_f64(random.f64())
        } else {
            nominal
        })
    }

    /// Returns the policy itself, after a check that its parts fit together.
    ///
    /// # Panics
    ///
    /// If the initial delay is longer than the cap.
    #[doc(hidden)]
    #[must_use]
    #[track_caller]
    pub const fn checked(self) -> Self {
        if let Some(fault) = self.fault() {
            panic!("{}", fault);
        }
        self
    }

    /// Returns why the policy's parts do not fit together.
    pub(crate) const fn fault(&self) -> Option<&'static str> {
        if self.initial_fits() {
            None
        } else {
            Some("`initial_delay` must not be longer than `max_delay`")
        }
    }

    pub(crate) const fn initial_fits(&self) -> bool {
        self.initial_delay.as_nanos() <= self.max_delay.as_nanos()
    }
}

#[track_caller]
const fn check_longest(delay: Duration) {
    assert!(
        delay.as_nanos() <= Retries::LONGEST_DELAY.as_nanos(),
        "`max_delay` must not be longer than 24 hours"
    );
}

impl From<u32> for Retries {
    /// Returns a policy of that many further attempts, one second apart.
    fn from(max_retries: u32) -> Self {
        Self::fixed(max_retries, Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(policy: Retries) -> Vec<u128> {
        policy.schedule().map(|delay| delay.as_millis()).collect()
    }

    #[test]
    fn a_number_means_that_many_retries_one_second_apart() {
        assert_eq!(millis(Retries::from(3)), [1000, 1000, 1000]);
    }

    #[test]
    fn exponential_doubles_from_one_second_to_sixty() {
        assert_eq!(
            millis(Retries::exponential(8)),
            [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
        );
    }

    #[test]
    fn the_cap_is_honoured_and_nothing_overflows() {
        let policy = Retries::exponential(u32::MAX).backoff_coefficient(10.0);
        assert_eq!(policy.delay(u32::MAX), Some(Duration::from_secs(60)));
        assert_eq!(policy.delay(0), None);
        assert_eq!(Retries::from(2).delay(3), None);
    }

    #[test]
    fn a_zero_delay_stays_zero() {
        let policy = Retries::exponential(4000).initial_delay(Duration::ZERO);
        assert_eq!(policy.delay(4000), Some(Duration::ZERO));
    }

    #[test]
    fn jitter_never_exceeds_the_nominal_delay() {
        let policy = Retries::exponential(10).jitter();
        let mut random = fastrand::Rng::with_seed(7);
        for retry in 1..=10 {
            for _ in 0..1000 {
                assert!(policy.draw_delay(retry, &mut random) <= policy.delay(retry));
            }
        }
    }

    #[test]
    #[should_panic(expected = "`initial_delay` must not be longer than `max_delay`")]
    fn an_initial_delay_above_the_cap_is_refused() {
        let _ = Retries::exponential(1)
            .initial_delay(Duration::from_secs(61))
            .checked();
    }
}
