//! The drawings of a report, as SVG. Each part of them has a title that tells more.

use std::fmt::Write;
use std::time::Duration;

use maud::{Markup, html};

use super::super::failures::word;
use super::aggregate::{Aggregate, Function};
use super::text::{grouped, per_second, plural, tick, time};
use super::timeline::{Bar, Row};
use crate::api::context::short_name;

/// The width of drawings, in units of their own: the page stretches them.
const WIDTH: u64 = 10_000;

/// Greatest number of bars in all rows of the timeline together.
const BARS: usize = 2500;

/// Number of functions that have a histogram.
const HISTOGRAMS: usize = 8;

pub(super) fn timeline(run: &Aggregate) -> Markup {
    let rows = run.timeline().rows();
    let period = run.elapsed().max(Duration::from_nanos(1));
    let most = (BARS / rows.len().max(1)).max(20);
    // Bars that are narrower than this cannot be told apart.
    let grain = period / 2000;
    html! {
        section #timeline {
            h2 { "Workers" }
            @if rows.is_empty() {
                p { "No worker was started." }
            } @else {
                p.legend {
                    span.key.s { } " start "
                    span.key.o { } " attempts "
                    span.key.f { } " failed "
                    span.key.p { } " panicked "
                    span.key.t { } " timed out "
                    span.key.c { } " crashed "
                }
                p.hint {
                    "One line for each place in a pool; a replacement takes the line of the worker before it. "
                    "The fuller the colour, the larger the share of the time in which the function ran."
                }
                div.lines {
                    @for row in &rows {
                        (line(row, &row.bars(grain, most), period))
                    }
                }
                (axis(period))
                @if run.timeline().hidden() > 0 {
                    p { (grouped(run.timeline().hidden())) " further workers are not shown." }
                }
            }
        }
    }
}

fn line(row: &Row, bars: &[Bar], period: Duration) -> Markup {
    html! {
        div.line {
            span.name title=(row.pool) { (short_name(row.pool)) " " (row.number) }
            svg viewBox="0 0 10000 20" preserveAspectRatio="none" role="img"
                aria-label={ "Worker " (row.number) " of " (row.pool) } {
                @for bar in bars {
                    (drawn(bar, period))
                }
            }
        }
    }
}

fn drawn(bar: &Bar, period: Duration) -> Markup {
    let (x, end) = (place(bar.begun, period), place(bar.ended, period));
    let width = (end - x).max(8);
    let x = x.min(WIDTH - 8);
    let tally = &bar.tally;
    let class = if tally.attempts() > 0 { "o" } else { "s" };
    // The failures are a stripe, as wide as the bar: a few among many would be invisible.
    let failure = [
        (tally.crashed + u64::from(bar.failed_starts), "c"),
        (tally.timed_out, "t"),
        (tally.panicked, "p"),
        (tally.failed + tally.others, "f"),
    ];
    let failure = failure.iter().find(|(count, _)| *count > 0);
    let length = bar.ended.saturating_sub(bar.begun);
    let share = match length.is_zero() || class == "s" {
        true => 1.0,
        false => (bar.busy.as_secs_f64() / length.as_secs_f64()).min(1.0),
    };
    html! {
        g {
            title { (bar_title(bar, share)) }
            @if tally.succeeded > 0 || failure.is_none() {
                @if share < 0.95 {
                    @let opacity = format!("{:.2}", 0.3 + 0.7 * share);
                    rect class=(class) x=(x) y="3" width=(width) height="14" opacity=(opacity) {}
                } @else {
                    rect class=(class) x=(x) y="3" width=(width) height="14" {}
                }
            }
            @if let Some((_, class)) = failure {
                @let height = if tally.succeeded > 0 { 7 } else { 14 };
                rect class=(class) x=(x) y=(17 - height) width=(width) height=(height) {}
            }
            @if tally.crashed > 0 || bar.failed_starts > 0 {
                rect.c x=((x + width).min(WIDTH) - 12.min(x + width)) y="0" width="12" height="20" {}
            }
        }
    }
}

fn bar_title(bar: &Bar, share: f64) -> String {
    let mut text = String::new();
    let attempts = bar.tally.attempts();
    match (attempts, &bar.longest) {
        (1.., Some(span)) if attempts == u64::from(span.count) => {
            let _ = write!(text, "{}", span.subject());
            if span.attempt > 1 {
                let _ = write!(text, ", attempt {}", span.attempt);
            }
            match &span.failure {
                None => text.push_str(": succeeded"),
                Some((outcome, error)) => {
                    let _ = write!(text, ": {}", word(outcome));
                    if let Some(error) = error {
                        let _ = write!(text, ", {error}");
                    }
                }
            }
            let about = if span.is_measured { "" } else { "at most " };
            let _ = write!(text, "\n{about}{} from {}", time(span.ran), time(bar.begun));
        }
        (1.., longest) => {
            let _ = write!(text, "{}", plural(attempts, "attempt"));
            let tally = &bar.tally;
            for (count, what) in [
                (tally.failed, "failed"),
                (tally.panicked, "panicked"),
                (tally.crashed, "crashed"),
                (tally.timed_out, "timed out"),
                (tally.others, "cancelled or lost"),
            ] {
                if count > 0 {
                    let _ = write!(text, ", {} {what}", grouped(count));
                }
            }
            let _ = write!(
                text,
                "\n{} to {}, busy {:.0} %",
                time(bar.begun),
                time(bar.ended),
                share * 100.0
            );
            if let Some(span) = longest {
                let mean = span.ran / span.count.max(1);
                let _ = write!(text, "\nlongest {} {}", span.subject(), time(mean));
            }
        }
        (0, _) => {
            let what = match (bar.starts, bar.failed_starts) {
                (1, 0) => "start".to_owned(),
                (1, _) => "start, failed".to_owned(),
                (starts, failed) => format!("{starts} starts, {failed} failed"),
            };
            let length = bar.ended.saturating_sub(bar.begun);
            let _ = write!(text, "{what}\n{} from {}", time(length), time(bar.begun));
        }
    }
    if attempts > 0 && bar.starts > 0 {
        let _ = write!(text, "\n{}", plural(u64::from(bar.starts), "start"));
    }
    let _ = write!(text, "\n{}", bar.worker);
    text
}

pub(super) fn rate(run: &Aggregate) -> Markup {
    let rate = run.rate();
    let period = run.elapsed().max(Duration::from_nanos(1));
    let most = rate
        .buckets()
        .iter()
        .map(|counts| counts.succeeded + counts.failed)
        .max();
    let most = most.unwrap_or_default();
    let peak = per_second(most, rate.width());
    let most = most.max(1);
    if rate.buckets().is_empty() {
        return html! {
            section #rate {
                h2 { "Calls ended over time" }
                p { "No call has ended." }
            }
        };
    }
    html! {
        section #rate {
            h2 { "Calls ended over time" }
            p.hint {
                "The highest column is " (peak) " per second. "
                "Below, columns with failures and with repeated attempts are marked."
            }
            svg.chart viewBox="0 0 10000 120" preserveAspectRatio="none" role="img"
                aria-label="Calls ended over time" {
                @for (number, counts) in (0_u32..).zip(rate.buckets()) {
                    @if counts.succeeded + counts.failed + counts.retried > 0 {
                        @let from = rate.width() * number;
                        @let until = (from + rate.width()).min(period);
                        @let x = place(from, period);
                        @let width = (place(until, period) - x).max(8);
                        @let height = ((counts.succeeded + counts.failed) * 100).div_ceil(most);
                        g {
                            title {
                                (time(from)) " to " (time(until)) ": "
                                (per_second(counts.succeeded + counts.failed, until - from)) " per second\n"
                                (grouped(counts.succeeded)) " succeeded, " (grouped(counts.failed)) " failed, "
                                (grouped(counts.retried)) " repeated"
                            }
                            rect.hit x=(x) y="0" width=(width) height="120" {}
                            rect.o x=(x) y=(100 - height) width=(width) height=(height) {}
                            @if counts.failed > 0 {
                                rect.c x=(x) y="103" width=(width) height="8" {}
                            }
                            @if counts.retried > 0 {
                                rect.f x=(x) y="112" width=(width) height="8" {}
                            }
                        }
                    }
                }
            }
            (axis(period))
        }
    }
}

pub(super) fn durations(functions: &[Function]) -> Markup {
    let mut measured: Vec<_> = functions
        .iter()
        .filter(|function| !function.times.longest().is_zero())
        .collect();
    measured.sort_by_key(|function| std::cmp::Reverse(function.busy));
    html! {
        section #durations {
            h2 { "Durations of attempts" }
            @if measured.is_empty() {
                p { "No duration was measured." }
            }
            @for function in measured.iter().take(HISTOGRAMS) {
                (histogram(function))
            }
            @if measured.len() > HISTOGRAMS {
                p { "The table below has the other functions." }
            }
            p.hint {
                "The scale of times is logarithmic. "
                "Quick inputs of a map are measured together, and appear with their mean."
            }
        }
    }
}

fn histogram(function: &Function) -> Markup {
    let buckets = function.times.coarse(4);
    let most = buckets
        .iter()
        .map(|(_, _, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    let columns = u64::try_from(buckets.len()).unwrap_or(1).max(1);
    let width = WIDTH / columns;
    html! {
        h3 { (short_name(function.name)) }
        p {
            @for (label, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
                @if let Some(quantile) = function.times.quantile(share) {
                    (label) " " b { (time(quantile)) } ", "
                }
            }
            "longest " b { (time(function.times.longest())) }
        }
        svg.chart viewBox="0 0 10000 100" preserveAspectRatio="none" role="img"
            aria-label={ "Durations of " (function.name) } {
            @for (number, (from, until, count)) in (0_u64..).zip(&buckets) {
                g {
                    title { (time(*from)) " to " (time(*until)) ": " (plural(*count, "attempt")) }
                    rect.hit x=(number * width) y="0" width=(width) height="100" {}
                    @if *count > 0 {
                        // The smallest column is visible, too.
                        @let height = (count * 100).div_ceil(most).max(2);
                        @let gap = width / 20;
                        rect.o x=(number * width + gap) y=(100 - height) width=(width - 2 * gap) height=(height) {}
                    }
                }
            }
        }
        div.ends {
            @if let (Some((from, ..)), Some((_, until, _))) = (buckets.first(), buckets.last()) {
                span { (time(*from)) } span { (time(*until)) }
            }
        }
    }
}

/// Returns the labels below a drawing of the whole run.
fn axis(period: Duration) -> Markup {
    let seconds = period.as_secs_f64();
    let rough = seconds / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    html! {
        div.axis {
            @for number in 0..=6_u32 {
                @let at = step * f64::from(number);
                @if at <= seconds * 0.93 {
                    @let style = format!("left:{:.2}%", at / seconds * 100.0);
                    span style=(style) { (tick(Duration::from_secs_f64(at))) }
                }
            }
        }
    }
}

/// Returns the place of a time in a drawing of the whole run.
fn place(time: Duration, period: Duration) -> u64 {
    let part = time.as_nanos().saturating_mul(u128::from(WIDTH)) / period.as_nanos().max(1);
    u64::try_from(part).unwrap_or(WIDTH).min(WIDTH)
}
