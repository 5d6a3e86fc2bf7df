//! Prints what the workers are doing, when a signal asks for it.

use std::fmt::Write;
use std::time::Duration;

use super::say;
use crate::api::context::subject;
use crate::api::excerpt::{grouped, line};
use crate::api::failure::Bytes;
use crate::caller::host;
use crate::local::running::Running;
use crate::observe::summary::plural;
use crate::scheduler::Overview;

/// Number of calls that are listed.
const LISTED: usize = 40;

/// The longest last line of a call, in characters.
const MAX_LINE_CHARS: usize = 60;

pub(super) fn print() {
    let Some(engine) = host::global_if_started() else {
        say("no calls so far");
        return;
    };
    let (overview, next_retry) = engine.overview();
    say(render(&engine.running(true), &overview, next_retry).trim_end());
}

fn render(running: &[Running], overview: &Overview, next_retry: Option<Duration>) -> String {
    let mut text = String::new();
    for one in running.iter().take(LISTED) {
        let subject = subject(one.call.function, one.call.index).to_string();
        let elapsed = one.elapsed.map_or_else(String::new, |elapsed| {
            format!("{:.1}s", elapsed.as_secs_f64())
        });
        let _ = write!(
            text,
            "{:>12} {subject:<24} attempt {:<3} {elapsed:>9}  worker w{}",
            "Running", one.call.attempt, one.worker
        );
        if let Some(pid) = one.pid {
            let _ = write!(text, " pid {pid}");
        }
        if one.memory > 0 {
            let _ = write!(text, "  {}", Bytes(one.memory));
        }
        if let Some(last) = &one.last_line {
            let _ = write!(text, "  {}", line(last, MAX_LINE_CHARS));
        }
        text.push('\n');
    }
    if let Some(more @ 1..) = running.len().checked_sub(LISTED) {
        let _ = writeln!(text, "{:12} and {more} more", "");
    }
    text.push_str(&counts(overview, next_retry));
    text
}

/// Returns the line about the calls in each state.
fn counts(overview: &Overview, next_retry: Option<Duration>) -> String {
    let Overview {
        executing,
        queued,
        delayed,
        done,
        ..
    } = *overview;
    let mut text = format!(
        "{:>12} {}, {} queued",
        "Executing",
        plural(executing as u64, "call"),
        grouped(queued as u64)
    );
    let (wait, next) = match delayed {
        1 => ("waits", ""),
        _ => ("wait", "the next "),
    };
    if delayed > 0 {
        let _ = write!(text, ", {} {wait} for a retry", grouped(delayed as u64));
    }
    if let Some(until) = next_retry {
        let _ = write!(text, ", {next}in {:.1}s", until.as_secs_f64());
    }
    let _ = writeln!(text, "; {} done", grouped(done));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::call_id::CallNumber;
    use crate::scheduler::RunningCall;

    fn running(last_line: Option<String>) -> Running {
        Running {
            call: RunningCall {
                id: CallNumber(813),
                function: "app::resize",
                index: Some(812),
                attempt: 2,
            },
            elapsed: Some(Duration::from_millis(12_340)),
            worker: 3,
            pid: Some(48_121),
            memory: 3 << 29,
            last_line,
        }
    }

    #[test]
    fn each_call_has_a_line() {
        let overview = Overview {
            executing: 1,
            queued: 7,
            done: 4120,
            ..Overview::default()
        };
        let expected = [
            "     Running resize[812]              attempt 2       12.3s  worker w3 pid 48121  1.50 GiB\n",
            "   Executing 1 call, 7 queued; 4,120 done\n",
        ];
        assert_eq!(render(&[running(None)], &overview, None), expected.concat());
        let text = render(&[running(Some("page 3 ".repeat(20)))], &overview, None);
        let (_, last) = text.lines().next().unwrap().split_once("GiB  ").unwrap();
        assert!(
            last.starts_with("page 3 page 3") && last.len() <= MAX_LINE_CHARS,
            "{text}"
        );
    }

    #[test]
    fn calls_that_wait_for_a_retry_are_counted() {
        let until = Some(Duration::from_millis(2_140));
        for (delayed, expected) in [
            (
                1,
                "   Executing 2 calls, 0 queued, 1 waits for a retry, in 2.1s; 0 done\n",
            ),
            (
                3,
                "   Executing 2 calls, 0 queued, 3 wait for a retry, the next in 2.1s; 0 done\n",
            ),
        ] {
            let overview = Overview {
                executing: 2,
                delayed,
                ..Overview::default()
            };
            assert_eq!(counts(&overview, until), expected);
        }
    }
}
