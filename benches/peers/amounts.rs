//! Amounts counted by a separate program: allocations and memory.

use std::process::Command;

use crate::harness::Settings;
use crate::table::{Goal, Row, Unit};

const PROGRAM: &str = env!("CARGO_BIN_EXE_memory");

/// Returns one number from a fresh process.
fn count(what: &str) -> f64 {
    let output = Command::new(PROGRAM).arg(what).output();
    let output = output.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| {
        let message = String::from_utf8_lossy(&output.stderr);
        panic!("`memory {what}` prints {text:?} and complains: {message}")
    })
}

pub(crate) fn allocations(_: &Settings) -> Vec<Row> {
    let row = |title, what, goal| Row::amount(title, Unit::Allocations, count(what), goal);
    vec![
        row(
            "allocations of the parent for a call, awaited",
            "awaited",
            Goal::None,
        ),
        row(
            "allocations of the parent for a call, waited for",
            "waited",
            Goal::None,
        ),
        row(
            "allocations of the parent for an input of a map",
            "map",
            Goal::Value(0.0),
        ),
    ]
}

pub(crate) fn memory(_: &Settings) -> Vec<Row> {
    /// The size of the `u64`, which does not count.
    const PAYLOAD: f64 = 8.0;
    let each = |title, what| {
        let bytes = count(what) - PAYLOAD;
        Row::amount(title, Unit::Bytes, bytes, Goal::Value(200.0))
    };
    let mebibytes = f64::from(1 << 20);
    vec![
        each(
            "memory of the parent for a queued call, beyond its `u64`",
            "queued",
        ),
        each(
            "memory of the parent for an input in a map's window, beyond its `u64`",
            "window",
        ),
        Row::amount(
            "private memory of an idle worker",
            Unit::Mebibytes,
            count("worker"),
            Goal::Value(2.0 * mebibytes),
        ),
        Row::amount(
            "processor time of a parent with 8 idle workers, in a second",
            Unit::Microseconds,
            count("idle"),
            // 0.01 % of the time.
            Goal::Value(100e-6),
        ),
    ]
}
