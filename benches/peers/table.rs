//! The medians that criterion has written, as one table.

use std::path::Path;
use std::time::SystemTime;

/// What a row shows of the time in nanoseconds that one sample took.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    /// So many inputs per sample; by how much faster, not slower.
    Inputs {
        ours: u64,
        procspawn: u64,
    },
    /// So many bytes per sample, in and out together.
    Bytes(u64),
}

pub(crate) struct Row {
    pub(crate) title: &'static str,
    /// Criterion's group, with `retry_runtime`, `bare` and `procspawn` in it.
    pub(crate) group: &'static str,
    /// Which measurement of the group is ours.
    pub(crate) ours: &'static str,
    /// The measurement whose time is not part of it.
    pub(crate) minus: Option<&'static str>,
    pub(crate) unit: Unit,
    pub(crate) goal: &'static str,
}

impl Unit {
    fn show(self, nanos: f64, procspawn: bool) -> (f64, String) {
        match self {
            Self::Microseconds => (nanos, format!("{:.1} us", nanos / 1e3)),
            Self::Milliseconds => (nanos, format!("{:.2} ms", nanos / 1e6)),
            Self::Inputs {
                ours,
                procspawn: theirs,
            } => {
                let inputs = if procspawn { theirs } else { ours };
                let speed = inputs as f64 / nanos * 1e3;
                (1.0 / speed, format!("{speed:.3} M/s"))
            }
            Self::Bytes(bytes) => {
                let speed = bytes as f64 / nanos * 1e9 / f64::from(1 << 30);
                (1.0 / speed, format!("{speed:.2} GiB/s"))
            }
        }
    }
}

/// Prints the rows that were measured since `begun`.
pub(crate) fn print(directory: &Path, begun: SystemTime, rows: &[Row]) {
    println!(
        "\n| | retry-runtime | bare | time / bare | procspawn | procspawn / time | to reach |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        let median = |name: &str| median(&directory.join(row.group).join(name), begun);
        let Some(mut nanos) = median(row.ours) else {
            continue;
        };
        if let Some(minus) = row.minus {
            nanos -= median(minus).unwrap_or(f64::NAN);
        }
        let (time, ours) = row.unit.show(nanos, false);
        let none = || (String::from("-"), String::from("-"));
        let (bare, to_bare) = median("bare").map_or_else(none, |nanos| {
            let (bare, shown) = row.unit.show(nanos, false);
            (shown, format!("{:.2}", time / bare))
        });
        let (procspawn, to_procspawn) = median("procspawn").map_or_else(none, |nanos| {
            let (procspawn, shown) = row.unit.show(nanos, true);
            (shown, format!("{:.2}", procspawn / time))
        });
        println!(
            "| {} | {ours} | {bare} | {to_bare} | {procspawn} | {to_procspawn} | {} |",
            row.title, row.goal
        );
    }
}

/// The median in nanoseconds, over all turns; `None` if it was not measured since `begun`.
fn median(directory: &Path, begun: SystemTime) -> Option<f64> {
    let turns = (0..).map_while(|turn: u32| estimate(&directory.join(turn.to_string()), begun));
    let mut medians: Vec<f64> = turns.chain(estimate(directory, begun)).collect();
    medians.sort_by(f64::total_cmp);
    medians.get(medians.len() / 2).copied()
}

fn estimate(directory: &Path, begun: SystemTime) -> Option<f64> {
    let file = directory.join("new/estimates.json");
    if std::fs::metadata(&file).ok()?.modified().ok()? < begun {
        return None;
    }
    let text = std::fs::read_to_string(&file).ok()?;
    let (_, median) = text.split_once("\"median\":")?;
    let (_, number) = median.split_once("\"point_estimate\":")?;
    let end = number.find([',', '}'])?;
    number[..end].trim().parse().ok()
}
