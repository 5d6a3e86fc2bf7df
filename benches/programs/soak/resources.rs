//! Resources of the run: descriptors, threads, memory and processes, whose use must stay flat.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::run::World;
use crate::system;

/// Time between two measurements.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Number of samples in which a child may be a zombie. The library reaps its workers when they exit.
const ZOMBIE: u32 = 3;

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub descriptors: u64,
    pub threads: u64,
    pub resident: u64,
    pub descendants: u64,
    pub zombies: u64,
}

impl Sample {
    /// Takes a sample. Returns `None` if no descriptor is left for it.
    pub fn take() -> Option<Self> {
        let descendants = system::descendants();
        Some(Self {
            descriptors: system::descriptors()? as u64,
            threads: system::threads().len() as u64,
            resident: system::resident()?,
            descendants: descendants.len() as u64,
            zombies: descendants
                .iter()
                .filter(|process| process.is_zombie())
                .count() as u64,
        })
    }
}

/// A measure that must stay flat: its name, its value in a sample, and the amount by which the last quarter
/// may exceed the second one, as a share and in absolute terms.
type Measure = (&'static str, fn(&Sample) -> u64, f64, u64);

const MEASURES: [Measure; 4] = [
    ("descriptors", |sample| sample.descriptors, 0.15, 25),
    ("threads", |sample| sample.threads, 0.15, 4),
    ("resident bytes", |sample| sample.resident, 0.15, 32 << 20),
    ("descendants", |sample| sample.descendants, 0.15, 6),
];

#[derive(Default)]
pub struct Resources {
    samples: Vec<Sample>,
    zombies: BTreeMap<u32, u32>,
}

impl Resources {
    pub fn sample(&mut self, world: &World) -> Option<Sample> {
        let sample = Sample::take()?;
        self.samples.push(sample);
        let own = std::process::id();
        let all = system::descendants();
        let zombies = all
            .iter()
            .filter(|process| process.is_zombie() && process.parent == own);
        let before = std::mem::take(&mut self.zombies);
        for process in zombies {
            let seen = before.get(&process.pid).unwrap_or(&0) + 1;
            if seen == ZOMBIE {
                world
                    .book
                    .violation("a zombie stays", format!("{process:?}"));
            }
            self.zombies.insert(process.pid, seen);
        }
        Some(sample)
    }

    /// Compares the medians of the last quarter with those of the second one.
    pub fn check(&self, world: &World) {
        let quarter = self.samples.len() / 4;
        if quarter == 0 {
            return;
        }
        for (name, measure, share, absolute) in MEASURES {
            let median = |samples: &[Sample]| {
                let mut values: Vec<u64> = samples.iter().map(measure).collect();
                values.sort_unstable();
                values[values.len() / 2]
            };
            let before = median(&self.samples[quarter..2 * quarter]);
            let after = median(&self.samples[3 * quarter..]);
            let most = before as f64 * (1.0 + share) + absolute as f64;
            println!("{name}: {before} in the second quarter, {after} in the last one");
            if after as f64 > most {
                let text = format!("{name}: from {before} to {after}, at most {most}");
                world.book.violation("a resource grows", text);
            }
        }
    }
}
