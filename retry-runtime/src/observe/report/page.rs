//! The page of a report. `maud` escapes every text, and the script and the style are part of the page.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::status::word;
use super::super::summary::grouped;
use super::aggregate::{Aggregate, Function, Totals};
use super::failures::{FailedAttempt, Group, Groups};
use super::timeline::{Bar, Row};
use crate::api::context::short_name;

/// The width of drawings, in units of their own: the page stretches them.
const WIDTH: u64 = 10_000;

/// How many bars all rows of the timeline have together at most.
const BARS: usize = 2500;

/// How many groups of failures are shown.
const SHOWN: usize = 50;

/// How many functions have a histogram.
const HISTOGRAMS: usize = 8;

/// The state of the run when the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Ended,
    /// The page is made from a log.
    FromLog,
}

/// Returns the page.
pub(super) fn render(run: &Aggregate, state: State, settings: Option<&str>) -> String {
    let name = run.head().map(|head| head.run.to_string());
    let name = name.unwrap_or_default();
    let totals = run.totals();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Nothing is loaded from elsewhere.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { "Run " (name) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    (header(run, &name, state))
                    (tiles(&totals))
                    (timeline(run))
                    (rate(run))
                    (durations(run.functions()))
                    (failures(&run.failures().calls))
                    (retries(&run.failures().attempts))
                    (slowest(run))
                    (functions(run.functions()))
                    (unfinished(run))
                    @if let Some(settings) = settings {
                        section #settings {
                            h2 { "Settings" }
                            pre { (settings.trim_end()) }
                        }
                    }
                }
                div #tip hidden {}
                script { (PreEscaped(include_str!("script.js"))) }
            }
        }
    };
    page.into_string()
}

fn header(run: &Aggregate, name: &str, state: State) -> Markup {
    let note = match state {
        State::Ended => None,
        State::Running => Some(
            "The run had not ended when this page was written. The page is renewed about every ten seconds; \
             if the program was killed, its event log, if it has one, tells the rest.",
        ),
        State::FromLog => Some(
            "This page was made from an event log, up to the last event in it. The settings of the run are not \
             part of a log.",
        ),
    };
    html! {
        header {
            h1 { "Run " code #run { (name) } }
            p {
                @if let Some(head) = run.head() {
                    "on " span #host { (head.host) } ", begun " span #begun { (utc(head.begun)) } ", "
                }
                "duration " span #duration { (time(run.elapsed())) }
            }
            @if let Some(note) = note {
                p.note { (note) }
            }
        }
    }
}

/// The sums, each with its number as an attribute for other programs.
fn tiles(totals: &Totals) -> Markup {
    let tiles = [
        ("calls", "calls ended", totals.ended, ""),
        ("succeeded", "succeeded", totals.succeeded, "good"),
        (
            "after-retry",
            "of them after a retry",
            totals.after_retry,
            "",
        ),
        ("failed", "failed", totals.failed, "bad"),
        ("cancelled", "cancelled", totals.cancelled, ""),
        ("pending", "not ended", totals.pending, "bad"),
        ("retried", "attempts repeated", totals.retried, ""),
        ("workers", "workers started", totals.workers, ""),
        ("lost", "workers lost", totals.lost, "bad"),
    ];
    html! {
        dl.tiles {
            @for (id, label, number, class) in tiles {
                div class=[(number > 0 && !class.is_empty()).then_some(class)] {
                    dt { (label) }
                    dd id=(id) data-value=(number) { (grouped(number)) }
                }
            }
        }
    }
}

fn timeline(run: &Aggregate) -> Markup {
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
                    rect class=(class) x=(x) y="3" width=(width) height="14" opacity=(format!("{:.2}", 0.3 + 0.7 * share)) {}
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

fn rate(run: &Aggregate) -> Markup {
    let rate = run.rate();
    let period = run.elapsed().max(Duration::from_nanos(1));
    let most = rate
        .buckets()
        .iter()
        .map(|counts| counts.succeeded + counts.failed)
        .max();
    let most = most.unwrap_or_default().max(1);
    let peak = per_second(most, rate.width());
    html! {
        section #rate {
            h2 { "Calls ended over time" }
            p.hint { "The highest column is " (peak) " per second. Below, columns with failures and with repeated attempts are marked." }
            svg.chart viewBox="0 0 10000 120" preserveAspectRatio="none" role="img" aria-label="Calls ended over time" {
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

/// Returns a rate as a number with as many digits as matter.
fn per_second(count: u64, period: Duration) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with few digits"
    )]
    let rate = count as f64 / period.as_secs_f64().max(1e-9);
    match rate {
        ..10.0 => format!("{rate:.1}"),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is neither negative nor larger than a count in a nanosecond"
        )]
        _ => grouped(rate.round() as u64),
    }
}

fn durations(functions: &[Function]) -> Markup {
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
                "The scale of times is logarithmic. Quick inputs of a map are measured together, and appear with their mean."
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
                        rect.o x=(number * width + width / 20) y=(100 - height) width=(width - width / 10) height=(height) {}
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

fn failures(groups: &Groups) -> Markup {
    let sorted = groups.sorted();
    html! {
        section #failures {
            h2 { "Failures" }
            @if sorted.is_empty() {
                p { "No call has failed." }
            }
            @for group in sorted.iter().take(SHOWN) {
                (details(group))
            }
            (not_shown(groups, &sorted))
        }
    }
}

fn retries(groups: &Groups) -> Markup {
    let sorted = groups.sorted();
    html! {
        @if !sorted.is_empty() {
            section #retries {
                h2 { "Repeated attempts" }
                @for group in sorted.iter().take(SHOWN) {
                    (details(group))
                }
                (not_shown(groups, &sorted))
            }
        }
    }
}

/// Returns a line about the failures that are not shown.
fn not_shown(groups: &Groups, sorted: &[&Group]) -> Markup {
    let more: u64 = sorted.iter().skip(SHOWN).map(|group| group.count).sum();
    let more = more + groups.others();
    html! {
        @if more > 0 {
            p { (grouped(more)) " further failures, of other kinds." }
        }
    }
}

fn details(group: &Group) -> Markup {
    let example = &group.example;
    html! {
        details data-count=(group.count) {
            summary {
                b { (grouped(group.count)) " × " (group.kind) } " "
                code { (short_name(group.function)) } " "
                span.reason { (example.reason) }
            }
            dl.facts {
                dt { "example" } dd { code { (example.subject) } }
                @if let Some(input) = &example.input {
                    dt { "input" } dd { code { (input) } }
                }
                @if let Some(called) = &example.called {
                    dt { "called" } dd { code { (called) } }
                }
                @if group.count > 1 {
                    dt { "between" } dd { (time(group.first)) " and " (time(group.last)) }
                } @else {
                    dt { "at" } dd { (time(group.first)) }
                }
                @if !example.attempts.is_empty() {
                    dt { "attempts" }
                    dd {
                        @for attempt in &example.attempts {
                            div { (attempt_line(attempt, &example.reason)) }
                        }
                    }
                }
            }
            @if let Some(stderr) = &example.stderr {
                pre { (stderr) }
            }
        }
    }
}

fn attempt_line(attempt: &FailedAttempt, reason: &str) -> String {
    let outcome = word(&attempt.outcome);
    let (number, ran, worker) = (attempt.number, time(attempt.ran), &attempt.worker);
    let mut text = format!("{number}: {outcome} after {ran}, {worker}");
    if let Some(delay) = attempt.delay.filter(|delay| !delay.is_zero()) {
        let _ = write!(text, ", repeated after {}", time(delay));
    }
    if let Some(error) = attempt.error.as_deref().filter(|error| *error != reason) {
        let _ = write!(text, ": {error}");
    }
    text
}

fn slowest(run: &Aggregate) -> Markup {
    html! {
        @if !run.slowest().is_empty() {
            section #slowest {
                h2 { "Slowest inputs" }
                div.scroll {
                    table {
                        tr { th { "input" } th.n { "longest attempt" } th { "outcome" } th.n { "attempt" } th { "worker" } }
                        @for slow in run.slowest() {
                            tr {
                                td { code { (slow.subject) } }
                                td.n { (time(slow.ran)) }
                                td { (slow.outcome.replace('_', " ")) }
                                td.n { (slow.attempt) }
                                td { (slow.worker) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn functions(functions: &[Function]) -> Markup {
    html! {
        section #functions {
            h2 { "Functions" }
            div.scroll {
                table {
                    tr {
                        th { "function" } th.n { "calls" } th.n { "succeeded" } th.n { "after a retry" } th.n { "failed" }
                        th.n { "cancelled" } th.n { "attempts" } th.n { "p50" } th.n { "p95" } th.n { "total time" }
                        th.n { "workers" } th.n { "lost" } th.n { "mean start" }
                    }
                    @for function in functions {
                        tr {
                            td { code { (function.name) } }
                            @for number in [
                                function.ended(), function.succeeded, function.after_retry, function.failed,
                                function.cancelled, function.tally.attempts(),
                            ] {
                                td.n { (grouped(number)) }
                            }
                            @for share in [0.5, 0.95] {
                                td.n { @if let Some(quantile) = function.times.quantile(share) { (time(quantile)) } }
                            }
                            td.n { (time(function.busy)) }
                            td.n { (grouped(function.workers)) }
                            td.n { (grouped(function.lost)) }
                            td.n { @if function.ready > 0 { (time(function.set_up / function.ready)) } }
                        }
                    }
                }
            }
        }
    }
}

fn unfinished(run: &Aggregate) -> Markup {
    let calls = run.unfinished();
    html! {
        @if !calls.is_empty() {
            section #unfinished {
                h2 { "Calls that workers had at the end" }
                p.hint { "A worker executes its calls one after the other, unless its function has a concurrency: then the first one of each worker was running." }
                div.scroll {
                    table {
                        tr { th { "input" } th.n { "for" } th.n { "attempt" } th { "worker" } }
                        @for call in &calls {
                            tr {
                                td { code { (call.subject) } }
                                td.n { (time(run.elapsed().saturating_sub(call.since))) }
                                td.n { (call.attempt) }
                                td { (call.worker) }
                            }
                        }
                    }
                }
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
                    span style=(format!("left:{:.2}%", at / seconds * 100.0)) { (tick(Duration::from_secs_f64(at))) }
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

/// Returns a duration with as many digits as matter: `1.2 ms`, `42.3 s`, `3 h 05 min`.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => {
            let nanos = duration.as_nanos();
            let seconds = duration.as_secs_f64();
            match nanos {
                0 => "0 s".to_owned(),
                1..1_000 => format!("{nanos} ns"),
                1_000..1_000_000 => format!("{:.1} µs", seconds * 1e6),
                _ => format!("{:.1} ms", seconds * 1e3),
            }
        }
        1..10 => format!("{:.2} s", duration.as_secs_f64()),
        10..120 => format!("{:.1} s", duration.as_secs_f64()),
        120..7200 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns a round duration without needless digits.
fn tick(duration: Duration) -> String {
    let text = time(duration);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text,
    }
}

/// Returns a time of the system's clock, such as `2025-11-29 14:06:31 UTC`.
fn utc(time: SystemTime) -> String {
    let since = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, seconds) = (since / 86_400, since % 86_400);
    // The algorithm counts years from March on, in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `1 attempt`, `10,000 attempts`
fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{} {what}s", grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_matter() {
        for (nanos, text) in [
            (0, "0 s"),
            (812, "812 ns"),
            (20_480, "20.5 µs"),
            (1_234_000, "1.2 ms"),
            (999_000_000, "999.0 ms"),
            (4_100_000_000, "4.10 s"),
            (42_318_000_000, "42.3 s"),
            (185_000_000_000, "3 min 05 s"),
            (11_100_000_000_000, "3 h 05 min"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(tick(Duration::from_secs(5)), "5 s");
        assert_eq!(tick(Duration::from_millis(200)), "200 ms");
        assert_eq!(tick(Duration::from_millis(2500)), "2.5 s");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_764_425_191, "2025-11-29 14:06:31 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
