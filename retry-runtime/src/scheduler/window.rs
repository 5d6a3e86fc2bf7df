//! Counts within a sliding window, in constant memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of slices in a window. Events leave the window a slice at a time.
const SLICES: u32 = 60;

/// The number of events within a sliding window.
#[derive(Debug)]
pub(super) struct SlidingCount {
    window: Duration,
    slice: Duration,
    slices: VecDeque<(Instant, u64)>,
    total: u64,
}

impl SlidingCount {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            slice: window / SLICES,
            slices: VecDeque::new(),
            total: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn add(&mut self, now: Instant, times: u32) {
        self.total += u64::from(times);
        match self.slices.back_mut() {
            Some((start, count)) if now.saturating_duration_since(*start) <= self.slice => {
                *count += u64::from(times);
            }
            _ => {
                self.forget(now);
                self.slices.push_back((now, times.into()));
            }
        }
    }

    pub(super) fn count(&mut self, now: Instant) -> u64 {
        self.forget(now);
        self.total
    }

    fn forget(&mut self, now: Instant) {
        let window = self.window;
        while let Some((_, count)) = self
            .slices
            .pop_front_if(|(start, _)| now.saturating_duration_since(*start) > window)
        {
            self.total -= count;
        }
    }
}
