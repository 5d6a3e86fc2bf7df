//! The page of a report. `maud` escapes every text, and the script and the style are part of the page.

use std::fmt::Write;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::failures::{FailedAttempt, Group, Groups, word};
use super::aggregate::{Aggregate, Function, Totals};
use super::drawing::{durations, rate, timeline};
use super::text::{grouped, time, utc};
use crate::api::context::short_name;
use crate::sys;

/// Lets the browser load nothing from elsewhere.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Number of groups of failures that are shown.
const MAX_GROUPS: usize = 50;

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
                meta http-equiv="Content-Security-Policy" content=(POLICY);
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
                    (failures(run.failures()))
                    (retries(run.retries()))
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
    sys::printable(page.into_string())
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
        (
            "failed-starts",
            "failed starts",
            totals.failed_starts,
            "bad",
        ),
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

fn failures(groups: &Groups) -> Markup {
    let sorted = groups.sorted();
    html! {
        section #failures {
            h2 { "Failures" }
            @if sorted.is_empty() {
                p { "No call has failed." }
            }
            @for group in sorted.iter().take(MAX_GROUPS) {
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
                @for group in sorted.iter().take(MAX_GROUPS) {
                    (details(group))
                }
                (not_shown(groups, &sorted))
            }
        }
    }
}

/// Returns a line about the failures that are not shown.
fn not_shown(groups: &Groups, sorted: &[&Group]) -> Markup {
    let more = groups.beyond(sorted, MAX_GROUPS);
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
                @if let Some(place) = &example.panicked_at {
                    dt { "panicked" } dd { code { (place) } }
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
    let worker = attempt.worker.short();
    let (number, ran, worker) = (
        attempt.number,
        time(attempt.ran),
        worker.unwrap_or_default(),
    );
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
                        tr {
                            th { "input" } th.n { "longest attempt" } th { "outcome" } th.n { "attempt" }
                            th { "worker" }
                        }
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
                        th { "function" }
                        @for name in [
                            "calls", "succeeded", "after a retry", "failed", "cancelled", "attempts", "p50", "p95",
                            "total time", "workers", "mean start", "failed starts", "lost",
                        ] {
                            th.n { (name) }
                        }
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
                            td.n { (grouped(u64::from(function.workers))) }
                            td.n { @if function.workers > 0 { (time(function.set_up / function.workers)) } }
                            td.n { (grouped(function.failed_starts)) }
                            td.n { (grouped(function.lost)) }
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
                p.hint {
                    "A worker executes one call at a time, the first of those that it has, unless its function has a "
                    "concurrency."
                }
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
