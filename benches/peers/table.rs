//! The measurements as one table.

use std::fmt;

use crate::harness::Samples;

/// The unit of a row. Measured values are always costs: seconds per operation or per byte, or an amount. A
/// speed is the reciprocal of a cost.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Microseconds,
    Milliseconds,
    /// Millions of inputs per second.
    Inputs,
    /// GiB per second.
    Bandwidth,
    Allocations,
    WakeUps,
    Bytes,
    Mebibytes,
    Times,
}

impl Unit {
    fn is_speed(self) -> bool {
        matches!(self, Self::Inputs | Self::Bandwidth)
    }

    /// Converts a cost, or a ratio of costs, to the displayed value.
    fn turn(self, cost: f64) -> f64 {
        if self.is_speed() { 1.0 / cost } else { cost }
    }

    fn show(self, cost: f64) -> String {
        let value = self.turn(cost);
        match self {
            Self::Microseconds => format!("{:.1} us", value * 1e6),
            Self::Milliseconds => format!("{:.2} ms", value * 1e3),
            Self::Inputs if value < 1e6 => format!("{:.1} k/s", value / 1e3),
            Self::Inputs => format!("{:.2} M/s", value / 1e6),
            Self::Bandwidth => format!("{:.2} GiB/s", value / f64::from(1 << 30)),
            Self::Allocations | Self::WakeUps => format!("{value:.2}"),
            Self::Bytes => format!("{value:.0} bytes"),
            Self::Mebibytes => format!("{:.2} MiB", value / f64::from(1 << 20)),
            Self::Times => format!("{value:.3} x"),
        }
    }
}

/// The goal of a row: a minimum for speeds, and a maximum for all other units.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    None,
    /// A multiple of the reference.
    Times(f64),
    /// Seconds, inputs per second or bytes.
    Value(f64),
}

pub(crate) struct Row {
    title: String,
    unit: Unit,
    ours: f64,
    /// The label of the reference, which is empty for the bare ping-pong, its median, and the ratio.
    against: Option<(&'static str, f64, f64)>,
    goal: Goal,
    peers: Vec<(&'static str, f64, f64)>,
}

impl Row {
    /// Creates a row with an amount that is not compared with anything.
    pub(crate) fn amount(title: impl Into<String>, unit: Unit, ours: f64, goal: Goal) -> Self {
        Self {
            title: title.into(),
            unit,
            ours,
            against: None,
            goal,
            peers: Vec::new(),
        }
    }

    pub(crate) fn new(
        title: impl Into<String>,
        unit: Unit,
        samples: &Samples,
        ours: &str,
        goal: Goal,
    ) -> Self {
        Self::amount(title, unit, samples.median(ours), goal).against(samples, ours, "bare", "")
    }

    /// Compares the row with `other`, which is labelled `called`. Has no effect if `other` took no part.
    pub(crate) fn against(
        mut self,
        samples: &Samples,
        ours: &str,
        other: &str,
        called: &'static str,
    ) -> Self {
        if samples.has(other) {
            let ratio = samples.paired(ours, other, |ours, other| ours / other);
            self.against = Some((called, samples.median(other), ratio));
        }
        self
    }

    /// Adds the peers that took part.
    pub(crate) fn beside(mut self, samples: &Samples, ours: &str, peers: &[&'static str]) -> Self {
        for peer in peers.iter().copied().filter(|peer| samples.has(peer)) {
            let faster = samples.paired(peer, ours, |theirs, ours| theirs / ours);
            self.peers.push((peer, samples.median(peer), faster));
        }
        self
    }

    fn reached(&self) -> Option<bool> {
        let (value, goal) = match self.goal {
            Goal::None => return None,
            Goal::Times(goal) => (self.unit.turn(self.against?.2), goal),
            // Tolerate 0.005 per operation: a queue may grow once more.
            Goal::Value(0.0) => (self.ours, 0.005),
            Goal::Value(goal) => (self.unit.turn(self.ours), goal),
        };
        Some(if self.unit.is_speed() {
            value >= goal
        } else {
            value <= goal
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, unit) = match self.unit.is_speed() {
            true => ("at least", self.unit),
            false => ("at most", self.unit),
        };
        write!(f, "| {} | {} ", self.title, unit.show(self.ours))?;
        match self.against {
            Some((called, cost, ratio)) => {
                let space = if called.is_empty() { "" } else { " " };
                let ratio = unit.turn(ratio);
                write!(f, "| {called}{space}{} | {ratio:.2} ", unit.show(cost))?;
            }
            None => write!(f, "| - | - ")?,
        }
        match self.goal {
            Goal::None => write!(f, "| - ")?,
            Goal::Times(times) => write!(f, "| {bound} {times} x ")?,
            Goal::Value(0.0) => write!(f, "| none ")?,
            Goal::Value(value) => write!(f, "| {bound} {} ", unit.show(unit.turn(value)))?,
        }
        match self.reached() {
            Some(true) => write!(f, "| yes |")?,
            Some(false) => write!(f, "| **no** |")?,
            None => write!(f, "| - |")?,
        }
        for (i, (peer, cost, faster)) in self.peers.iter().enumerate() {
            let comma = if i == 0 { " " } else { ", " };
            let digits = if *faster < 9.95 { 1 } else { 0 };
            write!(
                f,
                "{comma}{peer} {} ({faster:.digits$} x)",
                unit.show(*cost)
            )?;
        }
        write!(f, " |")
    }
}

pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n| | retry-runtime | bare | ratio | goal | reached | peers (times as fast we are) |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
}
