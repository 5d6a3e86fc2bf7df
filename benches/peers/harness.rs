//! Interleaved samples of all contenders.
//!
//! Each contender gives one sample in each round, so that other activity of the machine affects the figures,
//! but hardly the ratios: a ratio is the median of the rounds' ratios.

use std::time::{Duration, Instant};

/// The settings from the command line.
pub(crate) struct Settings {
    pub(crate) quick: bool,
    pub(crate) filter: Option<String>,
}

impl Settings {
    pub(crate) fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            quick: arguments.iter().any(|argument| argument == "--quick"),
            filter: arguments.into_iter().find(|text| !text.starts_with('-')),
        }
    }

    pub(crate) fn wants(&self, section: &str) -> bool {
        let filter = self.filter.as_deref();
        filter.is_none_or(|filter| section.contains(filter))
    }

    /// Returns the number of rounds, reduced for a quick run.
    pub(crate) fn rounds(&self, rounds: usize) -> usize {
        if self.quick {
            (rounds / 4).max(3)
        } else {
            rounds
        }
    }
}

/// Returns one sample: the seconds that one operation took, or another amount.
type Sample<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// The contenders of a comparison.
#[derive(Default)]
pub(crate) struct Contest<'a> {
    contenders: Vec<(&'static str, Sample<'a>)>,
}

impl<'a> Contest<'a> {
    pub(crate) fn with(mut self, name: &'static str, sample: impl FnMut() -> f64 + 'a) -> Self {
        self.contenders.push((name, Box::new(sample)));
        self
    }

    /// Takes this many samples of each contender, after some warm-up rounds.
    pub(crate) fn run(mut self, rounds: usize) -> Samples {
        let names = self.contenders.iter().map(|(name, _)| (*name, Vec::new()));
        let mut samples = Samples(names.collect());
        let warm_up = rounds.div_ceil(10);
        for round in 0..warm_up + rounds {
            for ((_, sample), (_, values)) in self.contenders.iter_mut().zip(&mut samples.0) {
                let value = sample();
                if round >= warm_up {
                    values.push(value);
                }
            }
        }
        samples
    }
}

/// The samples of each contender, by round.
#[derive(Default)]
pub(crate) struct Samples(Vec<(&'static str, Vec<f64>)>);

impl Samples {
    /// Appends further rounds of the same contenders.
    pub(crate) fn extend(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for ((_, values), (_, others)) in self.0.iter_mut().zip(other.0) {
            values.extend(others);
        }
    }

    fn of(&self, name: &str) -> Option<&[f64]> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, values)| values.as_slice())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    pub(crate) fn median(&self, name: &str) -> f64 {
        median(self.of(name).expect("it took part").to_vec())
    }

    /// Returns the median over the rounds of a function of both samples.
    pub(crate) fn paired(&self, first: &str, second: &str, f: fn(f64, f64) -> f64) -> f64 {
        median(self.pairs(first, second, f))
    }

    /// Adds a contender that is computed from the samples of two others.
    pub(crate) fn combine(
        &mut self,
        name: &'static str,
        first: &str,
        second: &str,
        f: fn(f64, f64) -> f64,
    ) {
        self.0.push((name, self.pairs(first, second, f)));
    }

    fn pairs(&self, first: &str, second: &str, f: fn(f64, f64) -> f64) -> Vec<f64> {
        let first = self.of(first).expect("it took part");
        let second = self.of(second).expect("it took part");
        let pairs = first.iter().zip(second);
        pairs.map(|(first, second)| f(*first, *second)).collect()
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the duration of a closure in seconds, without dropping its result.
pub(crate) fn time<T>(timed: impl FnOnce() -> T) -> f64 {
    let before = Instant::now();
    let result = timed();
    let elapsed = before.elapsed().as_secs_f64();
    drop(result);
    elapsed
}

/// Returns samples of a short operation: `times` repeats it as often as requested and returns the seconds.
/// The number of repetitions adapts to samples of about `length`.
pub(crate) fn repeated(length: Duration, mut times: impl FnMut(u32) -> f64) -> impl FnMut() -> f64 {
    let mut often = 1;
    move || {
        let each = times(often) / f64::from(often);
        let fitting = length.as_secs_f64() / each.max(1e-9);
        often = (fitting as u32).clamp(1, often.saturating_mul(100));
        each
    }
}
