//! Times the inputs that a worker runs one after the other, with one reading of the clock for each.

use std::sync::Arc;

use crate::wire::ControlBlock;

/// Times inputs. An input that follows another one at once begins where that one ended.
pub(super) struct Stopwatch {
    /// Has the clock.
    control: Arc<ControlBlock>,
    /// When the current input began, in nanoseconds.
    begun: Option<u64>,
}

impl Stopwatch {
    pub(super) fn new(control: Arc<ControlBlock>) -> Self {
        let begun = None;
        Self { control, begun }
    }

    /// Begins an input and returns when it began.
    pub(super) fn begin(&mut self) -> u64 {
        *self.begun.get_or_insert_with(|| self.control.now())
    }

    /// Ends an input whose successor begins at once. Returns how many nanoseconds it took.
    pub(super) fn lap(&mut self) -> u64 {
        let now = self.control.now();
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
    use crate::wire::Transport;

    #[test]
    fn successive_inputs_share_a_reading_and_no_time() {
        let (control, _) = ControlBlock::create(Transport::Socket).unwrap();
        let mut stopwatch = Stopwatch::new(Arc::new(control));
        let mut at = stopwatch.begin();
        for _ in 0..1000 {
            assert_eq!(stopwatch.begin(), at);
            at += stopwatch.lap();
        }
        stopwatch.end();
        assert!(stopwatch.begin() >= at);
    }
}
