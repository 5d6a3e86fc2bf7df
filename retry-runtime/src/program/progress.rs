//! Shows the progress of a program's calls on standard error, under `#[local_entrypoint]`.
//!
//! The numbers are the scheduler's counts, read whenever a line is due. The events carry the same
//! information, but would cost three messages per call, and would have gaps whenever their buffer overflows.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use super::status;
use crate::api::context::short_name;
use crate::api::excerpt::grouped;
use crate::caller::expected;
use crate::caller::host;
use crate::config::ProgressMode;
use crate::scheduler::Counts;
use crate::terminal;

/// Interval at which the line on a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Work that takes less time than this gets no line.
const SHORT: Duration = Duration::from_secs(1);

/// Interval at which a line is written if there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// The period over which the rate is averaged.
const RATE: Duration = Duration::from_secs(5);

/// Starts to show the progress.
pub(crate) fn begin(mode: ProgressMode) {
    let dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
    let terminal = mode == ProgressMode::Auto && !dumb && std::io::stderr().is_terminal();
    if mode == ProgressMode::None {
        return;
    }
    expected::watch();
    // Do this before the thread starts: the program may wait for its calls earlier than that.
    if terminal {
        terminal::begin();
    }
    let thread = thread::Builder::new().name("retry-progress".to_owned());
    // A program without the thread works as well, only without the display.
    let _ = thread.spawn(move || {
        if terminal {
            draw_lines();
        } else {
            write_lines();
        }
    });
}

/// Redraws one line while calls are pending.
fn draw_lines() {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut meter = Meter::new(Instant::now());
    let mut busy_since = None;
    while terminal::is_on() {
        thread::sleep(REDRAW);
        let now = Instant::now();
        let lines = meter.read(now);
        let shown: Vec<Line> = lines.into_iter().filter(Line::is_pending).collect();
        if shown.is_empty() {
            busy_since = None;
            drop(terminal::make_room());
            continue;
        }
        if now - *busy_since.get_or_insert(now) >= SHORT && terminal::takes_more() {
            announce(&shown);
            terminal::draw(&render(&shown, terminal::width(), colour));
        }
    }
}

/// Writes a line at intervals while calls are pending or the counts change.
fn write_lines() {
    let mut meter = Meter::new(Instant::now());
    let mut last = Vec::new();
    thread::sleep(SHORT);
    announce(&meter.read(Instant::now()));
    loop {
        thread::sleep(LINES);
        let lines = meter.read(Instant::now());
        let counts: Vec<_> = lines.iter().map(|line| line.counts).collect();
        let shown: Vec<Line> = lines
            .into_iter()
            .enumerate()
            .filter(|(place, line)| line.is_pending() || last.get(*place) != Some(&line.counts))
            .map(|(_, line)| line)
            .filter(|line| line.counts.submitted > 0)
            .collect();
        last = counts;
        if !shown.is_empty() && terminal::takes_more() {
            terminal::write(&format!("{}\n", render(&shown, usize::MAX, false)));
        }
    }
}

/// Prints once what runs.
fn announce(lines: &[Line]) {
    let Some(line) = lines.iter().find(|line| line.is_pending()) else {
        return;
    };
    let Some(engine) = host::global_if_started() else {
        return;
    };
    let workers = engine.step(|core, _| core.scheduler.workers_named(line.name));
    status::announce(line.name, line.total, workers);
}

/// The progress of one function.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: &'static str,
    counts: Counts,
    /// Number of calls including those to come, if that is known.
    total: Option<u64>,
    running: usize,
    /// Calls that end per second.
    rate: f64,
}

impl Line {
    fn is_pending(&self) -> bool {
        let all = self.total.unwrap_or_default().max(self.counts.submitted);
        self.counts.finished < all
    }
}

/// Measures how fast calls end, from earlier readings.
struct Meter {
    /// For each function, how many calls had ended at which time.
    seen: HashMap<&'static str, VecDeque<(Instant, u64)>>,
    /// Time of the last reading, or of creation: a function that is not in `seen` had no calls then.
    last: Instant,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self {
            seen: HashMap::new(),
            last: now,
        }
    }

    /// Returns the progress of each function, in the order in which they were first called.
    fn read(&mut self, now: Instant) -> Vec<Line> {
        let Some(engine) = host::global_if_started() else {
            return Vec::new();
        };
        let counts = engine.step(|core, _| core.scheduler.counts());
        let lines = counts
            .into_iter()
            .map(|(name, counts, running)| {
                let rate = self.rate(name, now, counts.finished);
                let (counts, total) = expected::since_begun(name, counts);
                Line {
                    name,
                    counts,
                    total,
                    running,
                    rate,
                }
            })
            .collect();
        self.last = now;
        lines
    }

    fn rate(&mut self, name: &'static str, now: Instant, finished: u64) -> f64 {
        let last = self.last;
        let unknown = || VecDeque::from([(last, 0)]);
        let seen = self.seen.entry(name).or_insert_with(unknown);
        // Keep the last entry that is old enough: the rate is measured from there.
        while seen.get(1).is_some_and(|(at, _)| now - *at >= RATE) {
            seen.pop_front();
        }
        seen.push_back((now, finished));
        match seen.front() {
            Some((at, before)) if now > *at => {
                #[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
                let ended = (finished - before) as f64;
                ended / (now - *at).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

/// Renders the progress of these functions as one line of at most `width` columns.
fn render(lines: &[Line], width: usize, colour: bool) -> String {
    let mut text = String::new();
    let mut room = width;
    let mut put = |piece: &str, red: bool| {
        let piece: String = piece.chars().take(room).collect();
        room -= piece.chars().count();
        if red && !piece.is_empty() {
            let _ = write!(text, "\x1b[31m{piece}\x1b[0m");
        } else {
            text.push_str(&piece);
        }
    };
    for (position, line) in lines.iter().enumerate() {
        let Counts {
            finished,
            failed,
            cancelled,
            retried,
            ..
        } = line.counts;
        if position > 0 {
            put("; ", false);
        }
        let total = line
            .total
            .map_or_else(String::new, |total| format!("/{}", grouped(total)));
        let (name, done) = (short_name(line.name), grouped(finished));
        put(&format!("{name} {done}{total}"), false);
        for (count, what) in [
            (failed, "failed"),
            (cancelled, "cancelled"),
            (retried, "retried"),
        ] {
            if count > 0 {
                put("  ", false);
                put(
                    &format!("{} {what}", grouped(count)),
                    colour && what == "failed",
                );
            }
        }
        if line.running > 0 {
            put(&format!("  {} running", line.running), false);
        }
        if line.rate > 0.0 {
            put(&format!("  {}/s", per_second(line.rate)), false);
        }
    }
    text
}

/// Formats a rate such as `812`, or `0.7` if it is below ten.
fn per_second(rate: f64) -> String {
    if rate < 9.95 {
        format!("{rate:.1}")
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is neither negative nor that large"
        )]
        grouped(rate.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, finished: u64, submitted: u64) -> Line {
        Line {
            name,
            counts: Counts {
                submitted,
                finished,
                ..Counts::default()
            },
            total: Some(submitted),
            running: 0,
            rate: 0.0,
        }
    }

    fn busy() -> Line {
        Line {
            counts: Counts {
                submitted: 10_000,
                finished: 4_120,
                failed: 3,
                cancelled: 2,
                retried: 17,
            },
            total: Some(10_000),
            running: 8,
            rate: 812.4,
            ..line("photos::resize", 0, 0)
        }
    }

    #[test]
    fn a_line_shows_all_counts() {
        assert_eq!(
            render(&[busy()], 100, false),
            "resize 4,120/10,000  3 failed  2 cancelled  17 retried  8 running  812/s"
        );
        let of_unknown_size = Line {
            total: None,
            ..busy()
        };
        assert!(render(&[of_unknown_size], 100, false).starts_with("resize 4,120  3 failed"));
        assert_eq!(render(&[line("a::b", 0, 1)], 100, false), "b 0/1");
        assert_eq!(
            render(&[line("a", 1, 2), line("b", 0, 1_000_000)], 100, false),
            "a 1/2; b 0/1,000,000"
        );
    }

    #[test]
    fn a_line_is_no_wider_than_the_terminal() {
        assert_eq!(render(&[busy(), busy()], 30, false).len(), 30);
        assert_eq!(render(&[line("größe", 1, 2)], 5, false), "größe");
        assert_eq!(render(&[busy()], 0, true), "");
    }

    #[test]
    fn failures_are_red_if_colour_is_enabled() {
        let text = render(&[busy()], 100, true);
        assert!(
            text.contains("  \x1b[31m3 failed\x1b[0m  2 cancelled  17 retried"),
            "{text:?}"
        );
        assert!(!render(&[busy()], 100, false).contains('\x1b'));
    }

    #[test]
    fn numbers_are_grouped_and_rounded() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (rate, text) in [(0.04, "0.0"), (0.7, "0.7"), (9.96, "10"), (1500.0, "1,500")] {
            assert_eq!(per_second(rate), text);
        }
    }

    #[test]
    fn the_rate_covers_the_last_seconds() {
        let begun = Instant::now();
        let mut meter = Meter::new(begun);
        let mut rates = Vec::new();
        for second in 0..20 {
            // 100 in each of the first ten seconds, then none.
            let finished = 100 * second.min(10);
            rates.push(meter.rate("f", begun + Duration::from_secs(second), finished));
        }
        assert_eq!(rates[0], 0.0, "nothing is known yet");
        assert_eq!(rates[1], 100.0);
        assert_eq!(rates[10], 100.0);
        assert_eq!(rates[12], 60.0);
        assert_eq!(rates[15], 0.0);
        assert!(meter.seen["f"].len() < 10, "what is old is forgotten");
    }
}
