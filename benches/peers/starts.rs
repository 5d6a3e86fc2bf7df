//! Starts: of a program's first worker, and of the worker that replaces a killed one.
//!
//! The library is measured in a small separate program, like the empty program that it is compared with.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Contest, Settings};
use crate::python;
use crate::roles::{Asked, first_byte};
use crate::table::{Goal, Row, Unit};

const EMPTY: &str = env!("CARGO_BIN_EXE_empty");
const OURS: &str = env!("CARGO_BIN_EXE_first_call");
const PROCSPAWN: &str = env!("CARGO_BIN_EXE_first_call_procspawn");

const CALLED: &str = "an empty program:";

fn asked(program: &str) -> Asked {
    let asked = Asked::start(Command::new(program).stderr(Stdio::inherit()));
    asked.expect("the program starts")
}

/// Measures the first call of a fresh process, from the call to its result.
pub(crate) fn cold(settings: &Settings) -> Vec<Row> {
    let mut contest = Contest::default()
        .with("empty", || first_byte(Path::new(EMPTY)))
        .with("ours", || asked(OURS).answer())
        .with("procspawn", || asked(PROCSPAWN).answer());
    if python::start("pool").is_some() {
        contest = contest.with("Python", python::cold);
    }
    let samples = contest.run(settings.rounds(60));
    let title = "cold start to first result";
    let row = Row::new(
        title,
        Unit::Milliseconds,
        &samples,
        "ours",
        Goal::Times(1.3),
    );
    let row = row.against(&samples, "ours", "empty", CALLED);
    vec![row.beside(&samples, "ours", &["procspawn", "Python"])]
}

pub(crate) fn after_kill(settings: &Settings) -> Vec<Row> {
    let (mut ours, mut procspawn) = (asked(OURS), asked(PROCSPAWN));
    ours.answer();
    procspawn.answer();
    let mut contest = Contest::default()
        .with("empty", || first_byte(Path::new(EMPTY)))
        .with("ours", move || ours.ask("kill"))
        .with("procspawn", move || procspawn.ask("kill"));
    if let Some(mut python) = python::start("executor") {
        contest = contest.with("Python", move || python.ask("kill"));
    }
    let samples = contest.run(settings.rounds(60));
    let title = "`kill -9` to next result";
    let row = Row::new(
        title,
        Unit::Milliseconds,
        &samples,
        "ours",
        Goal::Times(0.5),
    );
    let row = row.against(&samples, "ours", "empty", CALLED);
    vec![row.beside(&samples, "ours", &["procspawn", "Python"])]
}
