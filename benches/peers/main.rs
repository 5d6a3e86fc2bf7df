//! The runtime's speed beside that of its peers, in one run:
//!
//! `cargo bench --manifest-path benches/Cargo.toml [-- [--quick] [filter]]`
//!
//! The table at the end shows medians. A row's figures were taken one after the other, so its
//! ratios say more than the figures do.

mod functions;
mod modes;
mod table;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hint::black_box;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode};
use rayon::prelude::*;
use retry_runtime::Call;
use rustix::process::{Pid, Signal, kill_process};

use functions::{
    Blob, add_one, add_one_on_one_core, echo, plain_add_one, plain_echo, plain_process_id,
    plain_work, process_id, succeed_at_last, work,
};
use modes::Bare;
use table::{Row, Unit};

const MIB: usize = 1024 * 1024;
const LARGE_INPUTS: usize = 200;

/// A procspawn pool takes two large calls at once; with a third it blocks for good.
const LARGE_IN_FLIGHT: usize = 2;
const IN_FLIGHT: usize = 64;

fn main() {
    retry_runtime::init();
    procspawn::init();
    if modes::enter() {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let (warm_up, measured, inputs) = if quick {
        (100, 300, 100_000)
    } else {
        (300, 1500, 1_000_000)
    };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion");
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(&directory)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measured));
    if let Some(filter) = filter {
        criterion = criterion.with_filter(filter);
    }
    let begun = SystemTime::now();
    let sizes = Sizes {
        ours: inputs,
        procspawn: inputs / 200,
    };

    round_trip_on_one_core(&mut criterion);
    round_trip(&mut criterion, "round_trip", TURNS, |number| {
        add_one.remote(number)
    });
    round_trip_at(&mut criterion, "round_trip_after_quiet", || {
        std::thread::sleep(Duration::from_millis(10));
    });
    {
        let _hogs = Hogs::start();
        round_trip_at(&mut criterion, "round_trip_beside_hogs", || {});
    }
    map_numbers(&mut criterion, sizes);
    map_work(&mut criterion);
    map_uneven_work(&mut criterion);
    map_bytes(&mut criterion);
    cold_start(&mut criterion);
    kill_to_next(&mut criterion);
    retry(&mut criterion);

    table::print(&directory, begun, &rows(sizes));
}

#[derive(Clone, Copy)]
struct Sizes {
    ours: u64,
    procspawn: u64,
}

fn rows(sizes: Sizes) -> Vec<Row> {
    let row = |title, group, unit, goal| Row {
        title,
        group,
        ours: "retry_runtime",
        minus: None,
        unit,
        goal,
    };
    let trip = |title, group, ours| Row {
        ours,
        ..row(title, group, Unit::Microseconds, "1.5 x bare")
    };
    let inputs = Unit::Inputs {
        ours: sizes.ours,
        procspawn: sizes.procspawn,
    };
    let bytes = Unit::Bytes((2 * LARGE_INPUTS * MIB) as u64);
    let (free, one_core) = ("round_trip", "round_trip_on_one_core");
    let (quiet, hogs) = ("round_trip_after_quiet", "round_trip_beside_hogs");
    let (awaited, waited) = ("retry_runtime_awaited", "retry_runtime_waited");
    let spare = |title, group, ours| Row {
        goal: "1.2 x bare",
        ..trip(title, group, ours)
    };
    vec![
        trip("round trip of a `u64`, awaited", free, awaited),
        trip("round trip of a `u64`, waited for", free, waited),
        trip("the same on one core, awaited", one_core, awaited),
        trip("the same on one core, waited for", one_core, waited),
        spare("after 10 ms of quiet, awaited", quiet, awaited),
        spare("after 10 ms of quiet, waited for", quiet, waited),
        spare("with all cores busy, awaited", hogs, awaited),
        spare("with all cores busy, waited for", hogs, waited),
        row(
            "map over `u64`s",
            "map_u64",
            inputs,
            "1 M/s, 20 x procspawn",
        ),
        row(
            "map over 20 us of work each (bare: rayon, in this process)",
            "map_work",
            Unit::Milliseconds,
            "1.1 x rayon",
        ),
        row(
            "map where 1 % take 10 ms and the rest 10 us (bare: the ideal, computed)",
            "map_uneven_work",
            Unit::Milliseconds,
            "1.1 x ideal",
        ),
        row("map over 200 x 1 MiB, in + out", "map_1_mib", bytes, ""),
        row(
            "cold start to first result (bare: start of an empty program)",
            "cold_start",
            Unit::Milliseconds,
            "",
        ),
        row(
            "`kill -9` to next result",
            "kill_to_next",
            Unit::Milliseconds,
            "3 ms",
        ),
        Row {
            ours: "one_retry",
            minus: Some("no_retry"),
            ..row(
                "what a retry without delay adds, on one core",
                "retry",
                Unit::Microseconds,
                "1000 us",
            )
        },
    ]
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// For what takes long: few samples, each of them timed by itself.
fn slow<'a>(criterion: &'a mut Criterion, name: &str, samples: usize) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(samples);
    group
}

/// Measures what times itself.
fn timed(group: &mut Group<'_>, name: &str, mut once: impl FnMut() -> Duration) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| once()).sum());
    });
}

fn time(timed: impl FnOnce()) -> Duration {
    let before = Instant::now();
    timed();
    before.elapsed()
}

// --------------------------------------------------------------------------------- the benchmarks

/// Where the kernel puts two processes that talk to each other changes between two runs, and with it
/// the time of a round trip, several times over. So everybody has several turns.
const TURNS: usize = 3;

/// The same with everything on one core, where it is the work alone that counts.
fn round_trip_on_one_core(criterion: &mut Criterion) {
    modes::use_cores(Some(0));
    round_trip(criterion, "round_trip_on_one_core", 1, |number| {
        add_one_on_one_core.remote(number)
    });
    modes::use_cores(None);
}

fn round_trip<F>(criterion: &mut Criterion, name: &str, turns: usize, function: F)
where
    F: Fn(u64) -> Call<u64, Infallible>,
{
    let mut group = criterion.benchmark_group(name);
    for turn in 0..turns {
        group.bench_function(BenchmarkId::new("bare", turn), |bencher| {
            let mut peer = Bare::start();
            bencher.iter(|| peer.round_trip(black_box(1)));
        });
        group.bench_function(BenchmarkId::new("retry_runtime_awaited", turn), |bencher| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("an async runtime");
            bencher.iter_custom(|times| {
                runtime.block_on(async {
                    let before = Instant::now();
                    for _ in 0..times {
                        black_box(function(black_box(1)).await).expect("a result");
                    }
                    before.elapsed()
                })
            });
        });
        group.bench_function(BenchmarkId::new("retry_runtime_waited", turn), |bencher| {
            bencher.iter(|| function(black_box(1)).wait().expect("a result"));
        });
        group.bench_function(BenchmarkId::new("procspawn", turn), |bencher| {
            let pool = procspawn::Pool::new(1).expect("a pool");
            bencher.iter(|| {
                let call = pool.spawn(black_box(1), plain_add_one);
                call.join().expect("a result")
            });
        });
    }
}

/// One round trip at a time, each under conditions that have to be made first.
fn round_trip_at(criterion: &mut Criterion, name: &str, prepare: fn()) {
    let mut group = slow(criterion, name, 30);
    let mut peer = Bare::start();
    timed(&mut group, "bare", || {
        prepare();
        time(|| {
            peer.round_trip(black_box(1));
        })
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("an async runtime");
    timed(&mut group, "retry_runtime_awaited", || {
        prepare();
        time(|| {
            let call = add_one.remote(black_box(1));
            runtime.block_on(call).expect("a result");
        })
    });
    timed(&mut group, "retry_runtime_waited", || {
        prepare();
        time(|| {
            add_one.remote(black_box(1)).wait().expect("a result");
        })
    });
}

/// A thread for each core that wants all of it.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let hog = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        };
        let threads = (0..cores).map(hog).collect();
        Self { stop, threads }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How many steps of work take so long here.
fn steps_in(time_of_work: Duration) -> u64 {
    const PROBE: u64 = 10_000_000;
    let probe = time(|| {
        black_box(plain_work(PROBE));
    });
    let steps = PROBE as f64 * time_of_work.as_secs_f64() / probe.as_secs_f64();
    steps as u64
}

fn map_work(criterion: &mut Criterion) {
    let inputs = vec![steps_in(Duration::from_micros(20)); 20_000];
    let mut group = slow(criterion, "map_work", 10);
    timed(&mut group, "bare", || {
        time(|| {
            let sum: u64 = inputs.par_iter().map(|steps| plain_work(*steps) & 1).sum();
            black_box(sum);
        })
    });
    timed(&mut group, "retry_runtime", || time(|| all_done(&inputs)));
}

fn map_uneven_work(criterion: &mut Criterion) {
    const INPUTS: u64 = 2000;
    let (short, long) = (Duration::from_micros(10), Duration::from_millis(10));
    let is_long = |input: u64| input % 100 == 50;
    let (steps, many) = (steps_in(short), steps_in(long));
    let inputs: Vec<u64> = (0..INPUTS)
        .map(|input| if is_long(input) { many } else { steps })
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let all: Duration = (0..INPUTS)
        .map(|input| if is_long(input) { long } else { short })
        .sum();
    let mut group = slow(criterion, "map_uneven_work", 10);
    timed(&mut group, "bare", || all / cores as u32);
    timed(&mut group, "retry_runtime", || time(|| all_done(&inputs)));
}

fn all_done(inputs: &[u64]) {
    for result in work.map(inputs.iter().copied()) {
        black_box(result.expect("a result"));
    }
}

fn map_numbers(criterion: &mut Criterion, sizes: Sizes) {
    let mut group = slow(criterion, "map_u64", 10);
    timed(&mut group, "retry_runtime", || {
        let mut sum = 0;
        let elapsed = time(|| {
            sum = add_one
                .map(0..sizes.ours)
                .into_iter()
                .map(|result| result.expect("a result"))
                .sum();
        });
        assert_eq!(sum, sizes.ours * (sizes.ours + 1) / 2);
        elapsed
    });
    group.bench_function("procspawn", |bencher| {
        let pool = procspawn::Pool::new(2).expect("a pool");
        bencher.iter(|| through_pool(&pool, 0..sizes.procspawn, plain_add_one, IN_FLIGHT));
    });
}

fn map_bytes(criterion: &mut Criterion) {
    let mut group = slow(criterion, "map_1_mib", 10);
    let input = vec![7u8; MIB];
    group.bench_function("bare", |bencher| {
        let mut peer = Bare::start();
        bencher.iter(|| peer.stream(&input, LARGE_INPUTS));
    });
    timed(&mut group, "retry_runtime", || {
        let inputs = vec![input.clone(); LARGE_INPUTS];
        time(|| {
            for result in echo.map(inputs) {
                assert_eq!(result.expect("a result").len(), MIB);
            }
        })
    });
    group.bench_function("procspawn", |bencher| {
        let pool = procspawn::Pool::new(2).expect("a pool");
        bencher.iter_custom(|times| {
            let inputs = || {
                (0..LARGE_INPUTS)
                    .map(|_| Blob(input.clone()))
                    .collect::<Vec<_>>()
            };
            (0..times)
                .map(|_| {
                    let inputs = inputs();
                    time(|| through_pool(&pool, inputs, plain_echo, LARGE_IN_FLIGHT))
                })
                .sum()
        });
    });
}

/// What `.map()` is for a procspawn pool, with so many calls under way.
fn through_pool<A, R>(
    pool: &procspawn::Pool,
    inputs: impl IntoIterator<Item = A>,
    function: fn(A) -> R,
    in_flight: usize,
) where
    A: serde::Serialize + serde::de::DeserializeOwned,
    R: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let mut calls = VecDeque::new();
    for input in inputs {
        if calls.len() == in_flight {
            finish(calls.pop_front());
        }
        calls.push_back(pool.spawn(input, function));
    }
    calls.into_iter().for_each(|call| finish(Some(call)));
}

fn finish<R>(call: Option<procspawn::JoinHandle<R>>)
where
    R: serde::Serialize + serde::de::DeserializeOwned,
{
    if let Some(call) = call {
        black_box(call.join().expect("a result"));
    }
}

fn cold_start(criterion: &mut Criterion) {
    let mut group = slow(criterion, "cold_start", 30);
    timed(&mut group, "bare", modes::start_of_empty);
    timed(&mut group, "retry_runtime", modes::cold_start);
    timed(&mut group, "procspawn", modes::cold_start_of_procspawn);
}

fn kill_to_next(criterion: &mut Criterion) {
    let mut group = slow(criterion, "kill_to_next", 30);
    timed(&mut group, "retry_runtime", || {
        let call = || process_id.remote().wait().expect("a result");
        let worker = call();
        time(|| {
            kill(worker);
            assert_ne!(call(), worker);
        })
    });
    group.bench_function("procspawn", |bencher| {
        let pool = procspawn::Pool::new(1).expect("a pool");
        // The call that finds the worker dead fails or panics; the one after it is served.
        let once = || {
            let call = AssertUnwindSafe(|| pool.spawn((), plain_process_id).join().ok());
            catch_unwind(call).ok().flatten()
        };
        let call = || std::iter::repeat_with(once).flatten().next();
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        bencher.iter_custom(|times| {
            let kill_and_call = |_| {
                let worker = call();
                time(|| {
                    kill(worker.expect("it repeats until there is one"));
                    assert_ne!(call(), worker);
                })
            };
            (0..times).map(kill_and_call).sum()
        });
        std::panic::set_hook(hook);
    });
}

fn kill(process: u32) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    kill_process(process.expect("a process"), Signal::KILL).expect("it is a worker of ours");
}

/// On one core: free placement changes more between two measurements than the retry costs.
fn retry(criterion: &mut Criterion) {
    modes::use_cores(Some(0));
    let mut group = criterion.benchmark_group("retry");
    for (name, fail_first, attempts) in [("no_retry", false, 1), ("one_retry", true, 2)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let call = succeed_at_last.remote(fail_first);
                assert_eq!(call.wait().expect("a result"), attempts);
            });
        });
    }
    modes::use_cores(None);
}
