//! One table for many calls.

use std::hint::black_box;
use std::time::Duration;

use retry_runtime::{Shared, function};

use crate::harness::{Contest, Settings, repeated, time};
use crate::table::{Goal, Row, Unit};
use crate::{python, roles};

const MIB: usize = 1024 * 1024;

/// The size of the table, in bytes and in elements.
const TABLE: usize = 256 * MIB;
const ROWS: usize = TABLE / size_of::<u64>();

const CALLS: usize = 10_000;
const INPUTS: usize = 1_000_000;

/// The number of rows that stay in the cache of a worker.
const CACHED: usize = 64;

/// The number of calls for peers that pass the table to each of them.
const COPIES: usize = 2;

#[function]
pub(crate) fn index(row: usize) -> u64 {
    row as u64
}

#[function]
pub(crate) fn look_up(row: usize, table: Shared<[u64]>) -> u64 {
    table[row]
}

/// Looks a number up if there is a table, which otherwise is the row.
#[function]
pub(crate) fn look_up_if(row: usize, table: Option<Shared<[u64]>>) -> u64 {
    table.map_or(row as u64, |table| table[row])
}

#[function]
pub(crate) fn add_up(table: Shared<[u64]>) -> u64 {
    // Long enough for the other workers to begin as well.
    std::thread::sleep(Duration::from_millis(100));
    table.iter().sum()
}

#[function]
pub(crate) fn look_up_in_copy(row: usize, table: &[u64]) -> u64 {
    table[row]
}

pub(crate) fn table(settings: &Settings) -> Vec<Row> {
    let (table, memory) = made_table();
    let copied: Vec<u64> = (0..ROWS as u64).collect();
    // The limit is on what one call carries, such as the copies.
    retry_runtime::set_max_message(2 * TABLE);
    let row = |call: usize| call * 7919 % ROWS;
    let calls = if settings.quick { CALLS / 10 } else { CALLS };
    let shared = || {
        let each = time(|| {
            (0..calls).for_each(|call| {
                let found = look_up.remote(row(call), table.clone()).wait();
                assert_eq!(found.expect("a result"), row(call) as u64);
            })
        });
        each / calls as f64
    };
    // One function, so that both have the same worker, on the same core. It reads a place that is in the cache: to
    // fetch another one would take a tenth of the time of a call.
    let named = |table: Option<&Shared<[u64]>>| {
        let each = time(|| {
            (0..calls).for_each(|call| {
                let found = look_up_if.remote(call % CACHED, table.cloned()).wait();
                assert_eq!(found.expect("a result"), (call % CACHED) as u64);
            })
        });
        each / calls as f64
    };
    let samples = Contest::default()
        .with("alone", || named(None))
        .with("shared", || named(Some(&table)))
        .run(settings.rounds(12));
    let mut contest = Contest::default()
        .with("shared", shared)
        .with("a copy per call", || {
            let each = time(|| {
                (0..COPIES).for_each(|call| {
                    let found = look_up_in_copy.remote(row(call), &copied).wait();
                    assert_eq!(found.expect("a result"), row(call) as u64);
                })
            });
            each / COPIES as f64
        });
    for (name, what) in PYTHON {
        if what == "joblib" && !python::has("joblib, numpy") {
            continue;
        }
        if let Some(mut python) = python::start(what) {
            contest = contest.with(
                name,
                repeated(Duration::from_millis(300), move |times| {
                    python.ask(&format!("table {times}"))
                }),
            );
        }
    }
    let peers = contest.run(settings.rounds(12));
    let title = "each of 10 000 calls that name a `Shared` of 256 MiB";
    let calls = Row::new(
        title,
        Unit::Microseconds,
        &samples,
        "shared",
        Goal::Times(1.1),
    )
    .against(&samples, "shared", "alone", "without it:")
    .beside(
        &peers,
        "shared",
        &["a copy per call", PYTHON[0].0, PYTHON[1].0, PYTHON[2].0],
    );
    vec![calls, map(settings, &table), memory]
}

const PYTHON: [(&str, &str); 3] = [
    ("Python, the table per call", "table"),
    ("Python, `shared_memory`", "shared_memory"),
    ("Python, joblib with a memory map", "joblib"),
];

fn map(settings: &Settings, table: &Shared<[u64]>) -> Row {
    let samples = Contest::default()
        .with("alone", || {
            let all = time(|| {
                let found = index
                    .map(0..INPUTS)
                    .into_iter()
                    .map(|found| found.expect("a result"));
                black_box(found.sum::<u64>())
            });
            all / INPUTS as f64
        })
        .with("shared", || {
            let inputs = (0..INPUTS).zip(std::iter::repeat(table.clone()));
            let all = time(|| {
                let found = look_up
                    .map(inputs)
                    .into_iter()
                    .map(|found| found.expect("a result"));
                black_box(found.sum::<u64>())
            });
            all / INPUTS as f64
        })
        .run(settings.rounds(12));
    let title = "a map over a million rows of it";
    Row::new(title, Unit::Inputs, &samples, "shared", Goal::None).against(
        &samples,
        "shared",
        "alone",
        "without it:",
    )
}

/// Makes the table, and has all workers read it. Returns as well how much more memory all processes take then.
fn made_table() -> (Shared<[u64]>, Row) {
    let rows = 0..ROWS as u64;
    let read = |table: &Shared<[u64]>, sum: u64| {
        let tables = std::iter::repeat_n(table.clone(), 2 * crate::maps::cores());
        for found in add_up.map(tables) {
            assert_eq!(found.expect("a result"), sum);
        }
    };
    read(&Shared::new(&[1, 2][..]).expect("a small table"), 3);
    let before = memory_of_all();
    let table = Shared::<[u64]>::filled(ROWS, |places| {
        let places = places.iter_mut().zip(rows.clone());
        places.for_each(|(place, row)| *place = row);
    });
    let table = table.expect("there is memory for the table");
    read(&table, rows.sum());
    let more = (memory_of_all() - before) / TABLE as f64;
    let title = "memory for a `Shared` of 256 MiB in all processes, in multiples of it";
    (
        table,
        Row::amount(title, Unit::Times, more, Goal::Value(1.1)),
    )
}

/// Returns the memory of this process and its workers, in which shared memory counts once.
fn memory_of_all() -> f64 {
    let processes = std::iter::once(std::process::id()).chain(roles::children());
    processes.map(share).sum()
}

/// Returns the proportional share of a process in all memory that the kernel can reclaim only by ending it.
fn share(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let fields = rollup.lines().filter_map(|line| {
        let value = ["Pss_Anon:", "Pss_Shmem:"]
            .iter()
            .find_map(|key| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    fields.sum::<f64>() * 1024.0
}
