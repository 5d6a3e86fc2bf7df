//! Injects faults from outside, and remembers them, so that errors can be explained.
//!
//! | fault | errors that it explains |
//! |---|---|
//! | a signal to a worker | `Crashed`, where each crashed attempt is that of a worker that was sent one |
//! | a signal to a worker that starts | none: it is started again |
//! | a stopped worker | `TimedOut`, where the call has a limit |
//! | set-ups that fail | `Startup` of the functions with such a set-up |
//! | few descriptors or processes | `Startup` of any function |

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::functions::STARTS;
use crate::run::World;
use crate::{ledger, system};

/// Nanoseconds for which faults are remembered: longer than any call takes.
const REMEMBERED: u64 = 300 * 1_000_000_000;

/// Nanoseconds after such a phase in which calls may still fail because of it: starts back off.
const AFTERMATH: u64 = 3 * 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Sent {
    nanos: u64,
    pid: u32,
}

/// A period of injected failures. It is open while it lasts.
#[derive(Clone, Copy, Debug)]
struct Phase {
    begun: u64,
    ended: u64,
}

#[derive(Default)]
struct History {
    sent: VecDeque<Sent>,
    starts: VecDeque<Phase>,
    low: VecDeque<Phase>,
    counts: Counts,
}

/// The number of injections of each fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub kills: u64,
    pub stops: u64,
    pub massacres: u64,
    pub failing_starts: u64,
    pub few_descriptors: u64,
    pub few_processes: u64,
}

#[derive(Default)]
pub struct Faults(Mutex<History>);

impl Faults {
    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether set-ups were failing at some time in this interval.
    pub fn starts_failed(&self, from: u64, to: u64) -> bool {
        overlaps(&self.lock().starts, from, to)
    }

    /// Returns whether descriptors or processes were scarce at some time in this interval.
    pub fn limits_were_low(&self, from: u64, to: u64) -> bool {
        overlaps(&self.lock().low, from, to)
    }

    pub fn limits_are_low(&self) -> bool {
        let now = system::now();
        self.limits_were_low(now, now)
    }

    /// Returns the number of signals sent in this interval.
    pub fn kills(&self, from: u64, to: u64) -> usize {
        let history = self.lock();
        history
            .sent
            .iter()
            .filter(|one| one.nanos >= from && one.nanos <= to)
            .count()
    }

    /// Returns whether this process was sent a signal.
    pub fn was_signalled(&self, pid: u32) -> bool {
        self.lock().sent.iter().any(|one| one.pid == pid)
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn send(&self, pid: u32, signal: Signal) -> bool {
        let mut history = self.lock();
        let nanos = system::now();
        while history
            .sent
            .front()
            .is_some_and(|one| one.nanos + REMEMBERED < nanos)
        {
            history.sent.pop_front();
        }
        // Record the signal before it is sent: the crash may be reported at once.
        history.sent.push_back(Sent { nanos, pid });
        drop(history);
        system::signal_child(pid, signal)
    }

    fn begin(&self, phases: fn(&mut History) -> &mut VecDeque<Phase>) {
        let mut history = self.lock();
        let phases = phases(&mut history);
        let begun = system::now();
        while phases
            .front()
            .is_some_and(|one| one.ended + REMEMBERED < begun)
        {
            phases.pop_front();
        }
        phases.push_back(Phase {
            begun,
            ended: u64::MAX - AFTERMATH - REMEMBERED,
        });
    }

    fn end(&self, phases: fn(&mut History) -> &mut VecDeque<Phase>) {
        if let Some(phase) = phases(&mut self.lock()).back_mut() {
            phase.ended = system::now();
        }
    }
}

fn overlaps(phases: &VecDeque<Phase>, from: u64, to: u64) -> bool {
    phases
        .iter()
        .any(|phase| phase.begun <= to && phase.ended + AFTERMATH >= from)
}

/// Injects faults until the run is over.
pub fn inject(world: &World, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    set_failing_starts(0);
    while !world.is_over() {
        std::thread::sleep(Duration::from_millis(rng.u64(20..300)));
        match rng.u32(0..100) {
            0..58 => kill_one(world, &mut rng),
            58..72 => stop_one(world, &mut rng),
            72..75 => massacre(world),
            75..80 => fail_starts(world, &mut rng),
            80..84 => few(world, &mut rng, Resource::Nofile),
            84..87 if world.limits_processes => few(world, &mut rng, Resource::Nproc),
            _ => std::thread::sleep(Duration::from_millis(rng.u64(100..1500))),
        }
    }
}

fn kill_one(world: &World, rng: &mut fastrand::Rng) {
    let Some(pid) = rng.choice(system::workers()) else {
        return;
    };
    let signal = match rng.u32(0..10) {
        0..6 => Signal::KILL,
        6..8 => Signal::TERM,
        // The standard library's handler lets the first of these signals pass if the program did not cause
        // it.
        8 => Signal::SEGV,
        _ => Signal::ABORT,
    };
    if world.faults.send(pid, signal) {
        world.faults.lock().counts.kills += 1;
    }
}

fn stop_one(world: &World, rng: &mut fastrand::Rng) {
    let Some(pid) = rng.choice(system::workers()) else {
        return;
    };
    if !world.faults.send(pid, Signal::STOP) {
        return;
    }
    world.faults.lock().counts.stops += 1;
    let pause = if rng.u32(0..20) == 0 {
        1500
    } else {
        rng.u64(1..250)
    };
    std::thread::sleep(Duration::from_millis(pause));
    let end = if rng.u32(0..10) < 7 {
        Signal::CONT
    } else {
        Signal::KILL
    };
    // Descriptors may be scarce by now, but a worker must not stay stopped for ever.
    while !world.faults.send(pid, end) && system::workers().contains(&pid) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills all workers at once.
fn massacre(world: &World) {
    for pid in system::workers() {
        if world.faults.send(pid, Signal::KILL) {
            world.faults.lock().counts.kills += 1;
        }
    }
    world.faults.lock().counts.massacres += 1;
}

/// Stores the share of failing set-ups, in percent.
fn set_failing_starts(share: u32) {
    let directory = ledger::directory().unwrap_or_default();
    // Use a rename: concurrent set-ups read either the old or the new share.
    let (file, new) = (directory.join(STARTS), directory.join("starts.new"));
    let _ = std::fs::write(&new, share.to_string());
    let _ = std::fs::rename(&new, &file);
}

fn fail_starts(world: &World, rng: &mut fastrand::Rng) {
    world.faults.begin(|history| &mut history.starts);
    set_failing_starts(if rng.bool() { 100 } else { rng.u32(10..90) });
    for _ in 0..rng.u32(5..30) {
        std::thread::sleep(Duration::from_millis(100));
        if rng.bool() {
            kill_one(world, rng);
        }
    }
    set_failing_starts(0);
    world.faults.end(|history| &mut history.starts);
    world.faults.lock().counts.failing_starts += 1;
}

/// Limits this process to a few more descriptors or processes than it has now.
fn few(world: &World, rng: &mut fastrand::Rng, resource: Resource) {
    let taken = match resource {
        Resource::Nofile => system::descriptors(),
        _ => Some(system::tasks()),
    };
    let Some(taken) = taken else { return };
    let before = getrlimit(resource);
    let current = Some(taken as u64 + rng.u64(0..12));
    world.faults.begin(|history| &mut history.low);
    if setrlimit(resource, Rlimit { current, ..before }).is_ok() {
        for _ in 0..rng.u32(3..20) {
            std::thread::sleep(Duration::from_millis(100));
            if rng.u32(0..3) == 0 {
                kill_one(world, rng);
            }
        }
    }
    setrlimit(resource, before).expect("the soft limit may be raised again");
    world.faults.end(|history| &mut history.low);
    let mut history = world.faults.lock();
    match resource {
        Resource::Nofile => history.counts.few_descriptors += 1,
        _ => history.counts.few_processes += 1,
    }
}
