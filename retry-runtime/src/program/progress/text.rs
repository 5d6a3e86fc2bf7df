//! The texts of a display of progress.

use std::fmt::Write;
use std::time::Duration;

use console::Style;
use indicatif::{HumanDuration, ProgressBar};

use super::LONG;
use crate::api::context::{short_name, subject};
use crate::api::excerpt::grouped;
use crate::local::running::Running;
use crate::observe::summary::seconds;
use crate::program::sampling::Sample;

/// Number of executing inputs that are shown.
const MAX_SHOWN_INPUTS: usize = 8;

/// Returns the counts of a function, its rate and the time that is left: `4,120/10,000  3 failed  812/s  eta 7s  8
/// running`. The end is cut off on a narrow terminal.
pub(super) fn counts(sample: &Sample, bar: Option<&ProgressBar>, colour: bool) -> String {
    let total = sample.total.map_or_else(|| "?".to_owned(), grouped);
    let mut text = format!("{}/{total}", grouped(sample.counts.finished));
    let counts = sample.counts;
    for (count, what, style) in [
        (counts.failed, "failed", Style::new().red()),
        (counts.cancelled, "cancelled", Style::new()),
        (counts.retried, "retried", Style::new().yellow()),
    ] {
        if count > 0 {
            let part = format!("{} {what}", grouped(count));
            let _ = write!(text, "  {}", style.force_styling(colour).apply_to(part));
        }
    }
    let rate = bar.map_or(0.0, ProgressBar::per_sec);
    if rate >= 0.05 {
        let _ = write!(text, "  {}/s", per_second(rate));
    }
    let left = bar.map_or(Duration::ZERO, ProgressBar::eta);
    if sample.total.is_some() && !left.is_zero() {
        let _ = write!(text, "  eta {:#}", HumanDuration(left));
    }
    if sample.executing > 0 {
        let _ = write!(text, "  {} running", sample.executing);
    }
    text
}

/// Returns what holds the workers up, and the inputs that execute for long: `running [812] 12.3s, [813] 4.0s`.
pub(super) fn details(sample: &Sample, running: &[Running]) -> String {
    let mut parts = Vec::new();
    if let Some(stall) = sample.stall {
        parts.push(stall.to_string());
    }
    let long = running.iter().filter_map(|one| {
        let elapsed = one.elapsed.filter(|elapsed| *elapsed >= LONG)?;
        (one.call.function == sample.name).then(|| long_input(one, elapsed))
    });
    let long: Vec<_> = long.take(MAX_SHOWN_INPUTS).collect();
    if !long.is_empty() {
        parts.push(format!("running {}", long.join(", ")));
    }
    parts.join("; ")
}

fn long_input(one: &Running, elapsed: Duration) -> String {
    let name = match one.call.index {
        Some(index) => format!("[{index}]"),
        None => subject(one.call.function, None).to_string(),
    };
    let attempt = match one.call.attempt {
        1 => String::new(),
        attempt => format!(" (attempt {attempt})"),
    };
    format!("{name} {}{attempt}", seconds(elapsed))
}

/// Returns a line with the progress of some functions.
pub(super) fn line(functions: &[(&Sample, Option<ProgressBar>)]) -> String {
    let parts = functions.iter().map(|(sample, bar)| {
        let name = short_name(sample.name);
        let stall = (sample.stall).map_or_else(String::new, |stall| format!("  ({stall})"));
        format!("{name} {}{stall}", counts(sample, bar.as_ref(), false))
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// Formats a rate such as `812`, or `0.7` if it is below ten.
fn per_second(rate: f64) -> String {
    if rate < 9.95 {
        return format!("{rate:.1}");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is neither negative nor that large"
    )]
    grouped(rate.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::call_id::CallNumber;
    use crate::program::sampling::Stall;
    use crate::scheduler::{Counts, RunningCall};

    fn sample() -> Sample {
        Sample {
            name: "photos::resize",
            counts: Counts {
                submitted: 10_000,
                finished: 4_120,
                failed: 3,
                cancelled: 2,
                retried: 17,
            },
            total: Some(10_000),
            executing: 8,
            workers: 8,
            stall: None,
            pending_since: None,
            note: None,
        }
    }

    #[test]
    fn a_line_shows_all_counts() {
        assert_eq!(
            counts(&sample(), None, false),
            "4,120/10,000  3 failed  2 cancelled  17 retried  8 running"
        );
        let idle = Sample {
            total: None,
            executing: 0,
            counts: Counts {
                finished: 7,
                ..Counts::default()
            },
            ..sample()
        };
        assert_eq!(counts(&idle, None, false), "7/?");
        let stalled = Sample {
            stall: Some(Stall::Consumer),
            ..idle
        };
        assert_eq!(
            line(&[(&stalled, None), (&stalled, None)]),
            "resize 7/?  (waiting for the program to take results); \
             resize 7/?  (waiting for the program to take results)"
        );
    }

    #[test]
    fn failures_are_red_and_retries_yellow_if_colour_is_enabled() {
        let text = counts(&sample(), Some(&ProgressBar::hidden()), true);
        assert!(
            text.contains("  \x1b[31m3 failed\x1b[0m  2 cancelled  \x1b[33m17 retried\x1b[0m"),
            "{text:?}"
        );
    }

    #[test]
    fn details_name_the_inputs_that_execute_for_long() {
        let running = |function, index, attempt, milliseconds| Running {
            call: RunningCall {
                id: CallNumber(1),
                function,
                index,
                attempt,
            },
            elapsed: Some(Duration::from_millis(milliseconds)),
            worker: 1,
            pid: None,
            memory: 0,
            last_line: None,
        };
        let all = [
            running("photos::resize", Some(812), 2, 12_340),
            running("photos::other", Some(1), 1, 5_000),
            running("photos::resize", None, 1, 4_000),
            running("photos::resize", Some(9), 1, 20),
        ];
        assert_eq!(
            details(&sample(), &all),
            "running [812] 12s (attempt 2), resize 4.0s"
        );
        let stalled = Sample {
            stall: Some(Stall::Order(812)),
            ..sample()
        };
        assert_eq!(
            details(&stalled, &all[..1]),
            "waiting for [812], the next result in order; running [812] 12s (attempt 2)"
        );
        assert_eq!(details(&sample(), &[]), "");
    }

    #[test]
    fn rates_are_rounded() {
        for (rate, text) in [(0.04, "0.0"), (0.7, "0.7"), (9.96, "10"), (1500.0, "1,500")] {
            assert_eq!(per_second(rate), text);
        }
    }
}
