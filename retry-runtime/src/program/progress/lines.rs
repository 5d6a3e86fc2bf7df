//! Separate lines, where there is no terminal to draw on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::text;
use crate::program::sampling::Sample;
use crate::scheduler::Counts;
use crate::terminal;

/// Interval at which a line is written.
const LINES: Duration = Duration::from_secs(10);

/// Writes a line at intervals while calls are pending or the counts change.
pub(in crate::program) struct Lines {
    written_at: Instant,
    functions: HashMap<&'static str, Function>,
}

#[derive(Default)]
struct Function {
    /// Measures the rate, and is not drawn; `None` while no calls are pending.
    bar: Option<ProgressBar>,
    /// The counts in the last line.
    written: Counts,
}

impl Lines {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            written_at: now,
            functions: HashMap::new(),
        }
    }

    pub(super) fn show(&mut self, now: Instant, samples: &[Sample]) {
        let is_due = now - self.written_at >= LINES;
        let mut shown = Vec::new();
        for sample in samples {
            let known = self.functions.entry(sample.name).or_default();
            match &known.bar {
                Some(bar) if sample.is_pending() => measure(bar, sample),
                _ => known.bar = sample.is_pending().then(|| meter(sample)),
            }
            if is_due {
                let written = std::mem::replace(&mut known.written, sample.counts);
                if sample.is_pending() || written != sample.counts {
                    shown.push((sample, known.bar.clone()));
                }
            }
        }
        if is_due {
            self.written_at = now;
        }
        if !shown.is_empty() && terminal::takes_more() {
            terminal::write(&format!("{}\n", text::line(&shown)));
        }
    }
}

/// Returns a bar that measures the rate from now on.
pub(super) fn meter(sample: &Sample) -> ProgressBar {
    let bar = ProgressBar::hidden();
    measure(&bar, sample);
    // The calls that have ended before are no rate.
    bar.reset_eta();
    bar
}

/// Tells a bar how far its function is.
pub(super) fn measure(bar: &ProgressBar, sample: &Sample) {
    match sample.total {
        Some(total) => bar.set_length(total),
        None => bar.unset_length(),
    }
    if sample.counts.finished < bar.position() {
        // Another map has begun.
        bar.reset();
    }
    bar.set_position(sample.counts.finished);
    bar.tick();
}
