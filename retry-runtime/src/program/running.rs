//! Prints what the workers are doing, when a signal asks for it.

use std::fmt::Write;

use super::say;
use crate::api::context::subject;
use crate::api::failure::Bytes;
use crate::caller::host;
use crate::engine::running::Running;

/// How many calls are listed.
const LISTED: usize = 40;

pub(super) fn print() {
    let Some(engine) = host::global_if_started() else {
        say("no calls so far");
        return;
    };
    let (executing, waiting) = engine.pending();
    say(render(&engine.running(true), executing, waiting).trim_end());
}

fn render(running: &[Running], executing: usize, waiting: usize) -> String {
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
        text.push('\n');
    }
    if let Some(more @ 1..) = running.len().checked_sub(LISTED) {
        let _ = writeln!(text, "{:12} and {more} more", "");
    }
    let _ = writeln!(
        text,
        "{:>12} {executing} calls, {waiting} more wait",
        "Executing"
    );
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scheduler::RunningCall;

    #[test]
    fn each_call_has_a_line() {
        let one = Running {
            call: RunningCall {
                function: "app::resize",
                index: Some(812),
                attempt: 2,
            },
            elapsed: Some(Duration::from_millis(12_340)),
            worker: 3,
            pid: Some(48_121),
            memory: 3 << 29,
        };
        let expected = [
            "     Running resize[812]              attempt 2       12.3s  worker w3 pid 48121  1.50 GiB\n",
            "   Executing 1 calls, 7 more wait\n",
        ];
        assert_eq!(render(&[one], 1, 7), expected.concat());
    }
}
