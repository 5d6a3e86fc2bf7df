//! Separate lines, where there is no terminal to draw on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::meter::Meter;
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
    meter: Option<Meter>,
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
            match &mut known.meter {
                Some(meter) if sample.is_pending() => meter.measure(now, sample),
                _ => known.meter = sample.is_pending().then(|| Meter::new(now, sample)),
            }
            if is_due {
                let written = std::mem::replace(&mut known.written, sample.counts);
                if sample.is_pending() || written != sample.counts {
                    shown.push((sample, known.meter.as_ref().map(|meter| meter.bar.clone())));
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
