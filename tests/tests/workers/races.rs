//! Faults at random moments: two hundred rounds of each, without restrictions, on one CPU, and with two busy
//! threads per CPU. `RETRY_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use retry_runtime::{CallError, CrashLimit, Limit, function};
use retry_tests::{Conditions, Entry, Ledger, fixture_under, kill_child, record, seeded};

const LIMIT: Duration = Duration::from_secs(120);

const ROUNDS: u32 = 200;

/// Records its execution, and keeps its CPU busy for a while.
fn work(ledger: &Path, input: u64, micros: u64) -> u64 {
    record(ledger, input);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    input * 3
}

#[function(max_workers = 2, crash_limit = CrashLimit::unlimited())]
fn triple(ledger: PathBuf, input: u64, micros: u64) -> u64 {
    work(&ledger, input, micros)
}

#[function(single_use_workers, max_workers = 2, crash_limit = CrashLimit::unlimited())]
fn triple_once(ledger: PathBuf, input: u64, micros: u64) -> u64 {
    work(&ledger, input, micros)
}

fn serves() -> bool {
    let ledger = Ledger::new();
    triple.remote(ledger.path(), 1, 0).wait().is_ok()
}

/// Busy-waits for a random time: a sleep would take at least the timer slack.
fn pause(random: &mut fastrand::Rng, micros: std::ops::Range<u64>) {
    let moment = Instant::now() + Duration::from_micros(random.u64(micros));
    while Instant::now() < moment {
        std::thread::yield_now();
    }
}

/// Kills workers that have proved to be ready by executing an input. The death of a worker before it is ready
/// is a different case.
struct Killer<'a> {
    /// Workers of earlier rounds.
    known: &'a mut Vec<u32>,
    killed: BTreeSet<u32>,
}

impl<'a> Killer<'a> {
    fn new(known: &'a mut Vec<u32>) -> Self {
        Self {
            known,
            killed: BTreeSet::new(),
        }
    }

    /// Kills a random worker.
    fn strike(&mut self, random: &mut fastrand::Rng, ledger: &Ledger) {
        self.known
            .extend(ledger.entries().iter().map(|entry| entry.pid));
        self.known.sort_unstable();
        self.known.dedup();
        while !self.known.is_empty() {
            let pid = self.known.swap_remove(random.usize(0..self.known.len()));
            // Most of the known workers have died long ago.
            if kill_child(pid) {
                self.killed.insert(pid);
                return;
            }
        }
    }

    /// Asserts that no input was executed more often than necessary, and that no other input was blamed.
    fn assert_blame(&self, ledger: &Ledger) {
        let mut attempts: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        for entry in ledger.entries() {
            attempts.entry(entry.input).or_default().push(entry);
        }
        let mut blamed = 0;
        for (input, entries) in &attempts {
            // The number of an attempt is one more than the number of crashes blamed on it.
            let last = entries.iter().map(|entry| entry.attempt).max().unwrap_or(0);
            blamed += last as usize - 1;
            assert!(entries.len() <= last as usize, "input {input}: {entries:?}");
            for pair in entries.windows(2) {
                assert!(pair[0].attempt < pair[1].attempt, "{entries:?}");
                assert!(self.killed.contains(&pair[0].pid), "{entries:?}");
            }
        }
        let killed = self.killed.len();
        assert!(
            blamed <= killed,
            "{blamed} were blamed for {killed} deaths: {attempts:?}"
        );
    }
}

#[retry_runtime::test]
fn a_worker_killed_during_a_map_repeats_only_its_own_input() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        let mut known = Vec::new();
        let mut deaths = 0;
        seeded(Conditions::rounds(ROUNDS), |random, _| {
            let ledger = Ledger::new();
            let mut killer = Killer::new(&mut known);
            let mut others = random.fork();
            let inputs = (0..24).map(|input| (ledger.path(), input, others.u64(0..400)));
            std::thread::scope(|scope| {
                let map = scope.spawn(|| triple.map(inputs).into_iter().collect::<Vec<_>>());
                for _ in 0..random.u32(1..=2) {
                    pause(random, 0..6000);
                    killer.strike(random, &ledger);
                }
                for (input, result) in (0..).zip(map.join().unwrap()) {
                    assert_eq!(result.unwrap(), input * 3);
                }
            });
            killer.assert_blame(&ledger);
            assert_eq!(ledger.executions().len(), 24);
            deaths += killer.killed.len();
        });
        eprintln!("{deaths} workers were killed");
        let rounds = Conditions::rounds(ROUNDS) as usize;
        assert!(deaths > rounds / 4, "only {deaths} were killed");
    });
}

#[retry_runtime::test]
fn threads_do_not_notice_that_workers_are_killed() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        let mut known = Vec::new();
        seeded(Conditions::rounds(ROUNDS), |random, _| {
            let ledger = Ledger::new();
            let mut killer = Killer::new(&mut known);
            let durations: Vec<u64> = (0..12).map(|_| random.u64(0..600)).collect();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (ledger, durations) = (&ledger, &durations);
                    scope.spawn(move || {
                        for call in 0..3 {
                            let input = thread * 3 + call;
                            let micros = durations[input];
                            let input = input as u64;
                            let call = triple.remote(ledger.path(), input, micros);
                            assert_eq!(call.wait().unwrap(), input * 3);
                        }
                    });
                }
                for _ in 0..random.u32(1..=2) {
                    pause(random, 0..5000);
                    killer.strike(random, &ledger);
                }
            });
            killer.assert_blame(&ledger);
            assert_eq!(ledger.executions().len(), 12);
        });
    });
}

#[retry_runtime::test]
fn a_dropped_call_leaves_nothing_to_the_next_one() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        seeded(Conditions::rounds(ROUNDS), |random, round| {
            let ledger = Ledger::new();
            let first = u64::from(round) * 10;
            let mut dropped = triple.remote(ledger.path(), first, random.u64(0..1500));
            let sibling = triple.spawn(ledger.path(), first + 1, random.u64(0..500));
            let mut context = Context::from_waker(Waker::noop());
            if let std::task::Poll::Ready(result) =
                Future::poll(Pin::new(&mut dropped), &mut context)
            {
                assert_eq!(result.unwrap(), first * 3);
            }
            pause(random, 0..2500);
            drop(dropped);
            for next in first + 2..first + 4 {
                let call = triple.remote(ledger.path(), next, 0);
                assert_eq!(call.wait().unwrap(), next * 3);
            }
            assert_eq!(sibling.wait().unwrap(), (first + 1) * 3);
            assert!(ledger.entries().iter().all(|entry| entry.attempt == 1));
        });
    });
}

#[retry_runtime::test]
fn a_map_dropped_midway_starts_nothing_any_more() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        seeded(Conditions::rounds(ROUNDS), |random, _| {
            let ledger = Ledger::new();
            let mut others = random.fork();
            let inputs = (0..500).map(|input| (ledger.path(), input, others.u64(0..200)));
            let mut results = triple.map(inputs).into_iter();
            for input in 0..random.u64(0..30) {
                assert_eq!(results.next().unwrap().unwrap(), input * 3);
            }
            pause(random, 0..1000);
            drop(results);
            let begun = ledger.total();
            let next = Ledger::new();
            let after = (1000..1004).map(|input| (next.path(), input, 0));
            let values: Vec<u64> = triple.map(after).try_collect().wait().unwrap();
            assert_eq!(values, [3000, 3003, 3006, 3009]);
            // Each of the two workers may have been about to start an input that it had claimed.
            assert!(ledger.total() <= begun + 2, "{} {begun}", ledger.total());
            assert!(ledger.executions().values().all(|times| *times == 1));
        });
    });
}

#[retry_runtime::test]
fn a_timeout_at_the_end_of_a_call_is_one_or_the_other() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        let mut tally = [0; 2];
        seeded(Conditions::rounds(ROUNDS), |random, _| {
            let ledger = Ledger::new();
            let mut others = random.fork();
            let timeout = Duration::from_micros(2000);
            // Around the timeout, with some inputs behind them on the same worker.
            let inputs = (0..6).map(|input| (ledger.path(), input, others.u64(1500..2100)));
            let results = triple.map(inputs).timeout(timeout);
            let mut late = 0;
            for (input, result) in (0..).zip(results) {
                match result {
                    Ok(value) => {
                        assert_eq!(value, input * 3);
                    }
                    Err(CallError::TimedOut(timed_out, context)) => {
                        assert_eq!(timed_out.limit(), Limit::Attempt);
                        assert_eq!(context.attempts().len(), 1);
                        assert!(context.attempts()[0].duration >= timeout);
                        late += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            let call = triple.remote(ledger.path(), 10, 0);
            assert_eq!(call.wait().unwrap(), 30);
            // A worker that is stopped may have continued with the input behind, which runs again.
            assert!(ledger.total() <= 7 + late, "{:?}", ledger.entries());
            assert!(ledger.entries().iter().all(|entry| entry.attempt == 1));
            tally[0] += 6 - late;
            tally[1] += late;
        });
        eprintln!("[in time, timed out]: {tally:?}");
    });
}

#[retry_runtime::test]
fn single_use_workers_are_used_once_also_while_they_are_killed() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        let mut known = Vec::new();
        seeded(Conditions::rounds(ROUNDS), |random, _| {
            let ledger = Ledger::new();
            let mut killer = Killer::new(&mut known);
            let mut others = random.fork();
            let inputs = (0..3).map(|input| (ledger.path(), input, others.u64(0..1000)));
            std::thread::scope(|scope| {
                let map = scope.spawn(|| triple_once.map(inputs).into_iter().collect::<Vec<_>>());
                pause(random, 0..25_000);
                killer.strike(random, &ledger);
                for (input, result) in (0..).zip(map.join().unwrap()) {
                    assert_eq!(result.unwrap(), input * 3);
                }
            });
            killer.assert_blame(&ledger);
            let entries = ledger.entries();
            let pids: BTreeSet<u32> = entries.iter().map(|entry| entry.pid).collect();
            assert_eq!(pids.len(), entries.len(), "a worker was used twice");
        });
    });
}
