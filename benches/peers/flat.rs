//! The cost of a call as a function of the number of workers and of queued calls; it should be constant.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use retry_runtime::{Runtime, join};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::functions::{add_one, process_id_after};
use crate::harness::{Contest, Settings, repeated, time};
use crate::table::{Goal, Row, Unit};

const WITHIN: Goal = Goal::Times(1.5);

/// Time limit for starting the workers of one pool.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn workers(settings: &Settings) -> Vec<Row> {
    allow_descriptors();
    let most = if settings.quick { 100 } else { 1000 };
    let wanted = [1, 10, 100, 1000]
        .into_iter()
        .filter(|count| *count <= most);
    let pools: Vec<(usize, Runtime)> = wanted.map(pool_of).collect();
    let names = ["1", "10", "100", "1000"];
    let mut contest = Contest::default();
    for ((_, pool), name) in pools.iter().zip(names) {
        contest = contest.with(
            name,
            repeated(Duration::from_millis(5), move |times| {
                time(|| {
                    for _ in 0..times {
                        let call = process_id_after.on(pool).remote(black_box(0));
                        call.wait().expect("a result");
                    }
                })
            }),
        );
    }
    let samples = contest.run(settings.rounds(60));
    let rows = pools.iter().zip(names).skip(1);
    rows.map(|((count, _), name)| {
        let title = format!("a call, with {count} workers registered");
        Row::new(title, Unit::Microseconds, &samples, name, WITHIN).against(
            &samples,
            name,
            "1",
            "1 worker:",
        )
    })
    .collect()
}

/// Returns a pool with this many workers, or with those that started in time, and their number.
fn pool_of(workers: usize) -> (usize, Runtime) {
    let pool = Runtime::builder().max_workers(workers).build();
    let pool = pool.expect("a runtime");
    let begun = Instant::now();
    let mut known = BTreeSet::new();
    // Calls of this length are worth a worker each.
    let mut pause = 50;
    while known.len() < workers && begun.elapsed() < PATIENCE {
        let call = |_| process_id_after.on(&pool).spawn(pause);
        let calls: Vec<_> = (0..workers).map(call).collect();
        let processes = join(calls).wait().into_iter();
        known.extend(processes.map(|process| process.expect("a result")));
        pause = (2 * pause).min(2000);
    }
    (known.len(), pool)
}

/// Raises the limit on descriptors: each worker has several.
fn allow_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    // If this fails, there are fewer workers.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Returns the seconds per call for this many calls, queued at once, until all have their results.
pub(crate) fn queued(calls: usize) -> f64 {
    /// The minimum number of calls in one sample.
    const CALLS: usize = 10_000;
    let times = CALLS.div_ceil(calls);
    let elapsed = time(|| {
        for _ in 0..times {
            let spawned: Vec<_> = (0..calls as u64)
                .map(|number| add_one.spawn(number))
                .collect();
            for result in join(spawned).wait() {
                black_box(result.expect("a result"));
            }
        }
    });
    elapsed / (times * calls) as f64
}

pub(crate) fn queue(settings: &Settings) -> Vec<Row> {
    let samples = Contest::default()
        .with("10", || queued(10))
        .with("1000", || queued(1000))
        .with("100000", || queued(100_000))
        .run(settings.rounds(16));
    // Each row is compared with the sample that has a hundredth of the calls. The one with 10 calls includes
    // the time until a worker wakes, which is not measured here.
    let row = |title, name, fewer, called| {
        Row::new(title, Unit::Microseconds, &samples, name, WITHIN)
            .against(&samples, name, fewer, called)
    };
    vec![
        row(
            "each of 1 000 calls that are queued at once",
            "1000",
            "10",
            "10 queued:",
        ),
        row(
            "each of 100 000 calls that are queued at once",
            "100000",
            "1000",
            "1 000 queued:",
        ),
    ]
}
