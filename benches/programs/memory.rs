//! The allocations of the parent, and the private memory of an idle worker. Prints the single number that its
//! argument selects.

use std::alloc::System;
use std::time::Duration;

use retry_runtime::function;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[function]
fn add_one(number: u64) -> u64 {
    number + 1
}

/// Delays the calls behind the first one for longer than the measurement takes.
#[function(max_workers = 1)]
fn hold_up(number: u64) -> u64 {
    if number == 0 {
        std::thread::sleep(Duration::from_secs(60));
    }
    number
}

#[function]
fn process_id() -> u32 {
    std::process::id()
}

fn main() {
    retry_runtime::init();
    let number = match std::env::args().nth(1).as_deref() {
        Some("awaited") => awaited(),
        Some("waited") => waited(),
        Some("map") => map(),
        Some("queued") => queued(),
        Some("window") => window(),
        Some("worker") => worker(),
        Some("idle") => idle(),
        _ => panic!("the argument says what is to be counted"),
    };
    println!("{number}");
    // Exit without waiting for pending calls.
    std::process::exit(0);
}

/// Returns the number of allocations and reallocations by all threads, per operation, when `once` runs for
/// the second time; `each` is the number of operations in a run.
fn allocations(each: usize, mut once: impl FnMut()) -> f64 {
    once();
    let region = Region::new(ALLOCATOR);
    once();
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / each as f64
}

const CALLS: usize = 10_000;
const INPUTS: usize = 100_000;

fn awaited() -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("an async runtime");
    allocations(CALLS, || {
        runtime.block_on(async {
            for _ in 0..CALLS {
                add_one.remote(1).await.expect("a result");
            }
        });
    })
}

fn waited() -> f64 {
    allocations(CALLS, || {
        for _ in 0..CALLS {
            add_one.remote(1).wait().expect("a result");
        }
    })
}

/// Returns the allocations per additional input when the number of inputs doubles, so that the fixed
/// allocations of a map do not count.
fn map() -> f64 {
    let map_over = |inputs: u64| {
        for result in add_one.map(0..inputs) {
            result.expect("a result");
        }
    };
    let inputs = INPUTS as u64;
    let once = allocations(INPUTS, || map_over(inputs));
    let twice = allocations(INPUTS, || map_over(2 * inputs));
    (twice - once).max(0.0)
}

/// Returns the number of bytes that are allocated and not yet freed.
fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Returns the bytes per queued call, including its handle.
fn queued() -> f64 {
    hold_up.remote(1).wait().expect("a result");
    let _held_up = hold_up.spawn(0);
    let before = in_use();
    let calls: Vec<_> = (1..=INPUTS as u64)
        .map(|number| hold_up.spawn(number))
        .collect();
    let bytes = in_use() - before;
    assert_eq!(calls.len(), INPUTS);
    bytes as f64 / INPUTS as f64
}

/// Returns the bytes per waiting input in the window of a map.
fn window() -> f64 {
    hold_up.remote(1).wait().expect("a result");
    let before = in_use();
    let inputs = (0..=INPUTS as u64).inspect(|number| {
        if *number == INPUTS as u64 {
            println!("{}", (in_use() - before) as f64 / INPUTS as f64);
            std::process::exit(0);
        }
    });
    let count = hold_up.map(inputs).window(INPUTS + 1).into_iter().count();
    panic!("{count} inputs were not held up");
}

/// Returns a runtime and its idle workers.
fn idle_workers() -> (retry_runtime::Runtime, Vec<u32>) {
    const WORKERS: usize = 8;
    let runtime = retry_runtime::Runtime::builder()
        .max_workers(WORKERS)
        .build();
    let runtime = runtime.expect("a runtime");
    let calls: Vec<_> = (0..WORKERS)
        .map(|_| process_id.on(&runtime).spawn())
        .collect();
    let processes = retry_runtime::join(calls).wait().into_iter();
    let mut processes: Vec<u32> = processes
        .map(|process| process.expect("a result"))
        .collect();
    processes.sort_unstable();
    processes.dedup();
    std::thread::sleep(Duration::from_millis(200));
    (runtime, processes)
}

/// Returns the private bytes of an idle worker: the median of several.
fn worker() -> f64 {
    let (_runtime, processes) = idle_workers();
    let mut private: Vec<u64> = processes.into_iter().map(private_memory).collect();
    private.sort_unstable();
    private[private.len() / 2] as f64
}

/// Returns the processor time in seconds that this process and its idle workers use per second.
fn idle() -> f64 {
    const SECONDS: u64 = 2;
    let (_runtime, mut processes) = idle_workers();
    processes.push(std::process::id());
    let time = || -> u64 { processes.iter().copied().map(processor_time).sum() };
    let before = time();
    std::thread::sleep(Duration::from_secs(SECONDS));
    (time() - before) as f64 / 1e9 / SECONDS as f64
}

/// Returns the processor time of a process in nanoseconds, without that of the measuring thread.
fn processor_time(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it is there");
    let this = std::process::id().to_string();
    threads
        .map(|thread| thread.expect("a thread"))
        .filter(|thread| thread.file_name() != this.as_str())
        .map(|thread| {
            let file = thread.path().join("schedstat");
            let text = std::fs::read_to_string(file).expect("a thread is there");
            let ran = text.split(' ').next().and_then(|ran| ran.parse().ok());
            ran.unwrap_or(0u64)
        })
        .sum()
}

fn private_memory(process: u32) -> u64 {
    let file = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(file).expect("the worker is there");
    let kibibytes = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let value = rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?;
        matches!(name, "Private_Clean" | "Private_Dirty").then_some(value)
    });
    1024 * kibibytes.sum::<u64>()
}
