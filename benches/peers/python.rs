//! Python's pool, if python3 is installed.

use std::process::{Command, Stdio};

use crate::roles::Asked;

fn command(question: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("pool.py"), question]);
    command.stderr(Stdio::inherit());
    command
}

/// Starts a pool that performs requests and reports their durations. Returns `None` without python3.
pub(crate) fn start(pool: &str) -> Option<Asked> {
    let mut asked = Asked::start(&mut command(pool)).ok()?;
    asked.answer();
    Some(asked)
}

/// Returns whether python3 is there and has these modules.
pub(crate) fn has(modules: &str) -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", &format!("import {modules}")]);
    command.stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Measures the time from the creation of the pool to its first result, in a fresh process.
pub(crate) fn cold() -> f64 {
    let asked = Asked::start(&mut command("pool"));
    asked.expect("python3 was there before").answer()
}
