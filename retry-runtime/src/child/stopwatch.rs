//! Times the inputs that a worker runs one after the other, with one reading of the clock for each.

use crate::sys;

/// Times inputs. An input that follows another one at once begins where that one ended.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    /// When the current input began, in nanoseconds on the monotonic clock.
    begun: Option<u64>,
}

impl Stopwatch {
    /// Begins an input and returns when it began.
    pub(super) fn begin(&mut self) -> u64 {
        *self.begun.get_or_insert_with(sys::monotonic_nanos)
    }

    /// Ends an input whose successor begins at once. Returns how many nanoseconds it took.
    pub(super) fn lap(&mut self) -> u64 {
        let now = sys::monotonic_nanos();
        let begun = self.begun.replace(now);
        now.saturating_sub(begun.unwrap_or(now))
    }

    /// Ends an input that has no successor yet. Returns how many nanoseconds it took.
    pub(super) fn end(&mut self) -> u64 {
        let duration = self.lap();
        self.stop();
        duration
    }

    /// Lets the time until the next `begin` count for no input.
    pub(super) fn stop(&mut self) {
        self.begun = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successive_inputs_share_a_reading_and_no_time() {
        let mut stopwatch = Stopwatch::default();
        let mut at = stopwatch.begin();
        for _ in 0..1000 {
            assert_eq!(stopwatch.begin(), at);
            at += stopwatch.lap();
        }
        stopwatch.end();
        assert!(stopwatch.begin() >= at);
    }
}
