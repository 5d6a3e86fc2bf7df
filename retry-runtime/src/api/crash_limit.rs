//! The limit on crashes of a function's workers.

use std::time::Duration;

/// The number of crashes that stops a function: the option `crash_limit`.
///
/// The limit is reached when, within a sliding window, at least `crashes` workers have crashed
/// and more workers have crashed than attempts were completed. Every pending call of the
/// function then fails with [`CallError::CrashLimit`](crate::CallError::CrashLimit), and so do
/// new ones until enough crashes have left the window. Other functions are not affected.
///
/// The default is 8 crashes within 60 seconds.
///
/// ```
/// use retry_runtime::CrashLimit;
/// use std::time::Duration;
///
/// const STRICT: CrashLimit = CrashLimit::new(3, Duration::from_secs(10));
/// assert_ne!(STRICT, CrashLimit::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CrashLimit {
    limit: Option<(u32, Duration)>,
}

impl CrashLimit {
    /// Returns a limit of `crashes` crashes within `window`.
    ///
    /// # Panics
    ///
    /// Panics if `crashes` or `window` is zero; in a constant that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn new(crashes: u32, window: Duration) -> Self {
        assert!(
            crashes > 0,
            "`crash_limit` needs at least one crash; use CrashLimit::unlimited() for none"
        );
        assert!(
            !window.is_zero(),
            "`crash_limit` needs a window longer than zero"
        );
        Self {
            limit: Some((crashes, window)),
        }
    }

    /// Returns no limit: a crashed worker is always replaced.
    ///
    /// A single input is still given up after it was executing in three crashes.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { limit: None }
    }

    pub(crate) const DEFAULT: Self = Self::new(8, Duration::from_secs(60));

    pub(crate) fn get(&self) -> Option<(u32, Duration)> {
        self.limit
    }
}

impl Default for CrashLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}
