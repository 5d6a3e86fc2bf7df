//! The summary at the end of a run.

use std::fmt::Write;
use std::time::Duration;

use super::failures::{Example, Group};
use super::files::File;
use super::status::{Failures, WORDS};
use crate::api::context::short_name;
use crate::api::excerpt::grouped;

/// Number of groups of failures that are listed.
const GROUPS: usize = 10;

/// Share of the time of workers below which a reason is not told.
const WORTH_TELLING: f64 = 0.02;

/// Share of the time of workers that handing over calls and results takes in a program whose calls are too short.
const MOSTLY_TRANSPORT: f64 = 0.5;

/// Duration of a call above which it is not too short.
const SHORT_CALL: Duration = Duration::from_millis(1);

/// Sampled time for which shares of the time are meaningful, in seconds.
const SAMPLED: f64 = 2.0;

/// The time of a function's workers by what they did or waited for, in seconds of one worker, from samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Occupancy {
    /// The time for which calls were pending, in seconds.
    pub(crate) elapsed: f64,
    pub(crate) available: f64,
    /// The time in which workers had calls: they ran the function, or calls and results were on their way.
    pub(crate) occupied: f64,
    pub(crate) starting: f64,
    /// The time in which workers had nothing to do since the program did not take results.
    pub(crate) consumer: f64,
    /// The time in which they had nothing to do since the iterator of inputs yielded none.
    pub(crate) inputs: f64,
    /// The time in which they had nothing to do since an earlier result had to come first.
    pub(crate) order: f64,
    pub(crate) retries: f64,
    pub(crate) without_calls: f64,
}

/// The calls and workers of one function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) name: &'static str,
    pub(crate) finished: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) after_retry: u64,
    /// The attempts that took more than half of their timeout.
    pub(crate) slow: u64,
    pub(crate) failed_starts: u64,
    pub(crate) p50: Option<Duration>,
    pub(crate) p95: Option<Duration>,
    pub(crate) slowest: Option<(Duration, Option<u64>)>,
    pub(crate) workers: u64,
    pub(crate) lost: u64,
    pub(crate) set_up: Duration,
    /// The time that attempts took, and the time that there were workers for them.
    pub(crate) busy: Duration,
    pub(crate) available: Duration,
    /// The rest of the time of the workers, from samples.
    pub(crate) occupancy: Option<Occupancy>,
}

/// Returns the summary of a run that took this long, of which it was suspended for a part, and has written these
/// files.
pub(crate) fn render<'a>(
    run: &str,
    elapsed: Duration,
    suspended: Duration,
    totals: &[Totals],
    failures: &Failures,
    files: impl IntoIterator<Item = &'a File>,
) -> String {
    let names = Names(totals.iter().map(|one| one.name).collect());
    let mut text = "────────────\n".to_owned();
    let mut title = "Summary";
    for one in totals.iter().filter(|one| one.finished > 0) {
        let succeeded = one.finished - one.failed - one.cancelled;
        let mut line = format!(
            "{} of {} ok",
            grouped(succeeded),
            plural(one.finished, "call")
        );
        if one.after_retry > 0 {
            let _ = write!(line, " ({} after a retry)", grouped(one.after_retry));
        }
        for (count, what) in [(one.failed, "failed"), (one.cancelled, "cancelled")] {
            if count > 0 {
                let _ = write!(line, ", {} {what}", grouped(count));
            }
        }
        for (count, what) in [
            (one.slow, "slow attempt"),
            (one.failed_starts, "failed start"),
        ] {
            if count > 0 {
                let _ = write!(line, ", {}", plural(count, what));
            }
        }
        let name = names.of(one.name);
        let seconds = elapsed.as_secs_f64();
        let _ = writeln!(text, "{title:>WORDS$} [{seconds:>8.3}s] {name}: {line}");
        title = "";
        // Nothing is known of the workers of other machines.
        if one.workers > 0 || one.lost > 0 || one.p50.is_some() {
            let _ = writeln!(text, "{:WORDS$} {}", "", workers_and_times(one, name));
        }
        for line in shares(one) {
            let _ = writeln!(text, "{:WORDS$} {line}", "");
        }
    }
    if title == "Summary" {
        let seconds = elapsed.as_secs_f64();
        let _ = writeln!(text, "{title:>WORDS$} [{seconds:>8.3}s] no calls");
    }
    if !suspended.is_zero() {
        let _ = writeln!(text, "{:WORDS$} suspended for {}", "", seconds(suspended));
    }
    let groups = failures.groups.sorted();
    for (place, group) in groups.iter().take(GROUPS).enumerate() {
        let title = if place == 0 { "Failures" } else { "" };
        let _ = writeln!(text, "{title:>WORDS$} {}", group_line(group, &names));
    }
    let more = failures.groups.beyond(&groups, GROUPS);
    if more > 0 {
        let more = plural(more, "further failure");
        let _ = writeln!(text, "{:WORDS$} and {more}, of other kinds", "");
    }
    for (title, path) in files.into_iter().map(File::titled) {
        let _ = writeln!(text, "{title:>WORDS$} {}", path.display());
    }
    let _ = writeln!(text, "{:>WORDS$} {run}", "Run");
    text
}

/// Returns the line about the first function that takes a while.
pub(crate) fn announcement(run: &str, name: &str, total: Option<u64>, workers: usize) -> String {
    let over = total.map_or_else(String::new, |total| {
        format!(" over {}", plural(total, "input"))
    });
    // The workers of other machines are not known.
    let workers = match workers {
        0 => String::new(),
        workers => format!(" on {}", plural(workers as u64, "worker")),
    };
    format!("{:>WORDS$} {name}{over}{workers} (run {run})", "Running")
}

/// The functions of a run.
struct Names(Vec<&'static str>);

impl Names {
    /// Returns the name by which a function is shown: the last segment, or the last two where several functions
    /// have the same.
    fn of<'a>(&self, name: &'a str) -> &'a str {
        let short = short_name(name);
        let same = self.0.iter().filter(|other| short_name(other) == short);
        let Some(rest) = name.strip_suffix(short).filter(|_| same.count() > 1) else {
            return short;
        };
        let module = rest.trim_end_matches("::");
        &name[module.len() - short_name(module).len()..]
    }
}

fn group_line(group: &Group, names: &Names) -> String {
    let Example {
        subject, reason, ..
    } = &group.example;
    // The example is a call of the function, with its index.
    let index = subject.strip_prefix(short_name(group.function));
    let subject = index.map_or_else(
        || subject.clone(),
        |index| format!("{}{index}", names.of(group.function)),
    );
    let first = if group.count == 1 { "" } else { "first " };
    let (count, kind) = (grouped(group.count), &group.kind);
    format!("{count} × {kind}, {first}{subject}: {reason}")
}

fn workers_and_times(one: &Totals, name: &str) -> String {
    let mut line = plural(one.workers, "worker");
    if one.lost > 0 {
        let _ = write!(line, ", {} lost", grouped(one.lost));
    }
    let available = match one.sampled() {
        Some(sampled) => sampled.available,
        None => one.available.as_secs_f64(),
    };
    if available > 0.0 {
        let share = one.busy.as_secs_f64() / available;
        let _ = write!(line, ", busy {}", percent(share));
    }
    if let Ok(workers @ 1..) = u32::try_from(one.workers) {
        let _ = write!(line, ", set-up {:.1?} each", one.set_up / workers);
    }
    if let (Some(p50), Some(p95)) = (one.p50, one.p95) {
        let _ = write!(line, "; calls p50 {p50:.1?}, p95 {p95:.1?}");
    }
    if let Some((slowest, index)) = one.slowest {
        let _ = write!(line, ", slowest {slowest:.1?}");
        if let Some(index) = index {
            let _ = write!(line, " ({name}[{index}])");
        }
    }
    line
}

impl Totals {
    /// Returns the samples, if there are enough of them.
    fn sampled(&self) -> Option<Occupancy> {
        let occupancy = self.occupancy?;
        (occupancy.elapsed >= SAMPLED && occupancy.available > 0.0).then_some(occupancy)
    }
}

/// Returns lines about the time in which workers did not run the function, and what can be done about it.
fn shares(one: &Totals) -> Vec<String> {
    let Some(sampled) = one.sampled() else {
        return Vec::new();
    };
    // Both clocks measure the same time, with errors of their own.
    let transport = (sampled.occupied - one.busy.as_secs_f64()).max(0.0);
    let parts = [
        (transport, "transport"),
        (sampled.consumer, "waiting for the program to take results"),
        (sampled.inputs, "waiting for the iterator of inputs"),
        (sampled.order, "waiting for the next result in order"),
        (sampled.retries, "waiting for retries"),
        (sampled.starting, "starting"),
        (sampled.without_calls, "without calls"),
    ];
    let parts = parts.map(|(time, what)| (time / sampled.available, what));
    let told: Vec<_> = parts
        .iter()
        .filter(|(share, _)| *share >= WORTH_TELLING)
        .map(|(share, what)| format!("{what} {}", percent(*share)))
        .collect();
    let mut lines = Vec::new();
    if !told.is_empty() {
        lines.push(told.join(", "));
    }
    let (transport, _) = parts[0];
    if transport >= MOSTLY_TRANSPORT
        && let Some(p50) = one.p50.filter(|p50| *p50 < SHORT_CALL)
    {
        lines.push(format!(
            "hint: a call takes {p50:.1?}, less than to hand it over; let each call do more"
        ));
    }
    lines
}

fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).min(100.0))
}

/// Returns a duration in seconds, with one digit behind the point if it is short: `3.1s`, `42s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        ..9.95 => format!("{seconds:.1}s"),
        _ => format!("{seconds:.0}s"),
    }
}

/// Returns a number with its noun: `1 call`, `10,000 calls`.
pub(crate) fn plural(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{} {what}s", grouped(count)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::context::AttemptOutcome;
    use crate::api::events::{CallOutcome, Event, EventKind};
    use crate::api::failure::ExitCause;
    use crate::observe::attempts::AttemptWorker;
    use crate::observe::failures::{End, FailedAttempt};
    use crate::observe::files::Kind;

    #[test]
    fn an_announcement_names_what_is_known() {
        assert_eq!(
            announcement("1NE2J9ZK4PQXG", "resize", Some(10_000), 8),
            "     Running resize over 10,000 inputs on 8 workers (run 1NE2J9ZK4PQXG)"
        );
        assert_eq!(
            announcement("1NE2J9ZK4PQXG", "resize", None, 1),
            "     Running resize on 1 worker (run 1NE2J9ZK4PQXG)"
        );
    }

    #[test]
    fn a_summary_has_totals_times_and_groups_of_failures() {
        let totals = Totals {
            name: "app::resize",
            finished: 10_000,
            failed: 19,
            after_retry: 37,
            slow: 1,
            failed_starts: 2,
            p50: Some(Duration::from_millis(31)),
            p95: Some(Duration::from_millis(88)),
            slowest: Some((Duration::from_millis(4100), Some(8121))),
            workers: 11,
            lost: 3,
            set_up: Duration::from_millis(13_200),
            busy: Duration::from_secs(93),
            available: Duration::from_secs(100),
            ..Totals::default()
        };
        let mut failures = Failures::default();
        let mut fail = |index, count, outcome, reason: &str, attempts: &[FailedAttempt]| {
            let mut event = Event::new("app::resize", EventKind::Queued);
            event.input_index = Some(index);
            let end = End {
                outcome,
                reason,
                details: None,
            };
            failures.groups.add_call(&event, count, &end, attempts);
        };
        fail(107, 16, CallOutcome::Failed, "no page 107", &[]);
        let cause = ExitCause::Signal {
            signal: 11,
            core_dumped: false,
        };
        let crash = FailedAttempt {
            number: 3,
            outcome: AttemptOutcome::Crashed(cause),
            error: None,
            ran: Duration::ZERO,
            worker: AttemptWorker::unknown(),
            delay: None,
        };
        fail(812, 3, CallOutcome::Crashed, &cause.to_string(), &[crash]);
        let text = render(
            "1NE2J9ZK4PQXG",
            Duration::from_millis(42_318),
            Duration::ZERO,
            &[totals],
            &failures,
            &[
                File::of(Kind::Trace, "trace.json"),
                File::of(Kind::Log, "logs/run.jsonl"),
            ],
        );
        let expected = "\
────────────
     Summary [  42.318s] resize: 9,981 of 10,000 calls ok (37 after a retry), 19 failed, 1 slow attempt, 2 failed starts
             11 workers, 3 lost, busy 93%, set-up 1.2s each; calls p50 31.0ms, p95 88.0ms, slowest 4.1s (resize[8121])
    Failures 16 × failed, first resize[107]: no page 107
             3 × SIGSEGV, first resize[812]: SIGSEGV (invalid memory reference)
       Trace trace.json
      Events logs/run.jsonl
         Run 1NE2J9ZK4PQXG
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_summary_without_calls_says_so() {
        let idle = Totals {
            name: "app::resize",
            ..Totals::default()
        };
        let elapsed = Duration::from_millis(1_850);
        let text = render(
            "1NE2J9ZK4PQXG",
            elapsed,
            Duration::from_millis(61_200),
            &[idle],
            &Failures::default(),
            [],
        );
        let expected = "\
────────────
     Summary [   1.850s] no calls
             suspended for 61s
         Run 1NE2J9ZK4PQXG
";
        assert_eq!(text, expected);
    }

    #[test]
    fn functions_with_the_same_last_segment_are_told_apart() {
        let names = Names(vec![
            "app::one::work",
            "app::two::work",
            "app::rest",
            "work",
        ]);
        for (name, shown) in [
            ("app::one::work", "one::work"),
            ("app::two::work", "two::work"),
            ("app::rest", "rest"),
            ("work", "work"),
        ] {
            assert_eq!(names.of(name), shown);
        }
    }

    fn sampled(busy: u64, occupancy: Occupancy) -> Totals {
        Totals {
            p50: Some(Duration::from_micros(90)),
            busy: Duration::from_secs(busy),
            occupancy: Some(occupancy),
            workers: 2,
            ..Totals::default()
        }
    }

    #[test]
    fn the_time_of_workers_is_told_by_what_they_waited_for() {
        let occupancy = Occupancy {
            elapsed: 50.0,
            available: 100.0,
            occupied: 50.0,
            consumer: 30.0,
            inputs: 1.0,
            starting: 5.0,
            ..Occupancy::default()
        };
        let totals = sampled(40, occupancy);
        assert!(workers_and_times(&totals, "f").contains("busy 40%"));
        let expected = "transport 10%, waiting for the program to take results 30%, starting 5%";
        assert_eq!(shares(&totals), [expected]);
        let hint = "hint: a call takes 90.0µs, less than to hand it over; let each call do more";
        let short = Occupancy {
            occupied: 99.0,
            consumer: 0.0,
            starting: 0.0,
            ..occupancy
        };
        assert_eq!(shares(&sampled(20, short)), ["transport 79%", hint]);
        let too_few = Occupancy {
            elapsed: 1.0,
            ..occupancy
        };
        assert!(shares(&sampled(40, too_few)).is_empty());
    }

    #[test]
    fn short_durations_have_a_digit_behind_the_point() {
        for (milliseconds, text) in [(0, "0.0s"), (3140, "3.1s"), (9960, "10s"), (42_400, "42s")] {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), text);
        }
    }
}
