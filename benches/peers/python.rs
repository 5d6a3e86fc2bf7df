//! Python's pool, where there is a python3.

use std::process::{Command, Stdio};

use crate::roles::Asked;

fn command(question: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", include_str!("pool.py"), question]);
    command.stderr(Stdio::inherit());
    command
}

/// A pool that does what it is asked for and tells how long that took. `None` without a python3.
pub(crate) fn start(pool: &str) -> Option<Asked> {
    let mut asked = Asked::start(&mut command(pool)).ok()?;
    asked.answer();
    Some(asked)
}

/// From before the pool to its first result, in a fresh process.
pub(crate) fn cold() -> f64 {
    let asked = Asked::start(&mut command("pool"));
    asked.expect("python3 was there before").answer()
}
