//! Round trips of a number, one at a time.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use retry_runtime::Call;

use crate::bare::Bare;
use crate::functions::{
    add_one, add_one_on_one_core, plain_add_one, succeed, succeed_at_last,
    succeed_at_last_on_one_core,
};
use crate::harness::{Contest, Samples, Settings, median, repeated, time};
use crate::maps::cores;
use crate::table::{Goal, Row, Unit};
use crate::tarpc_peer::{Tarpc, runtime};
use crate::{ipc, pool, python, roles};

/// Long enough for every sample to include its share of the kernel's occasional work.
const SAMPLE: Duration = Duration::from_millis(5);

/// The kernel's placement of two communicating processes changes between runs, and the time of a round trip
/// with it, several-fold. All peers are therefore started several times.
const TURNS: usize = 3;

const PEERS: &[&str] = &[APART, "procspawn", "tarpc", "ipc-channel", "Python"];

/// The bare ping-pong with each side on its own core.
const APART: &str = "bare on two cores";

pub(crate) fn back_to_back(settings: &Settings) -> Vec<Row> {
    let mut samples = Samples::default();
    for _ in 0..TURNS {
        let turn = turn(cores() > 1, settings.rounds(30), |number| {
            add_one.remote(number)
        });
        samples.extend(turn);
    }
    let row = |title, ours, beside| {
        Row::new(title, Unit::Microseconds, &samples, ours, Goal::Times(0.1))
            .beside(&samples, ours, beside)
    };
    vec![
        row("round trip of a `u64`, awaited", "awaited", PEERS),
        row("round trip of a `u64`, waited for", "waited", PEERS),
    ]
}

/// Measures round trips on a single core, where only the amount of work counts.
pub(crate) fn on_one_core(settings: &Settings) -> Vec<Row> {
    roles::use_cores(Some(0));
    let samples = turn(false, settings.rounds(30), |number| {
        add_one_on_one_core.remote(number)
    });
    roles::use_cores(None);
    let row = |title, ours, beside| {
        Row::new(title, Unit::Microseconds, &samples, ours, Goal::None)
            .beside(&samples, ours, beside)
    };
    vec![
        row("the same on one core, awaited", "awaited", PEERS),
        row("the same on one core, waited for", "waited", PEERS),
    ]
}

fn turn(
    on_two_cores: bool,
    rounds: usize,
    function: impl Fn(u64) -> Call<u64, Infallible>,
) -> Samples {
    let mut bare = Bare::start(8);
    let runtime = runtime();
    let tarpc = Tarpc::start(1);
    let ipc = ipc::Peer::start();
    let pool = pool::start(1);
    // By default, the kernel may put both sides of a socket on one core, where neither has to wait until
    // another core wakes.
    let mut apart = on_two_cores.then(|| {
        roles::use_core_here(Some(1));
        let apart = Bare::start(8);
        roles::use_core_here(None);
        apart
    });
    let mut contest = Contest::default()
        .with(
            "bare",
            repeated(SAMPLE, |times| time(|| ping(&mut bare, times))),
        )
        .with(
            "awaited",
            repeated(SAMPLE, |times| {
                time(|| {
                    runtime.block_on(async {
                        for _ in 0..times {
                            function(black_box(1)).await.expect("a result");
                        }
                    });
                })
            }),
        )
        .with(
            "waited",
            repeated(SAMPLE, |times| {
                time(|| {
                    for _ in 0..times {
                        function(black_box(1)).wait().expect("a result");
                    }
                })
            }),
        )
        .with(
            "procspawn",
            repeated(SAMPLE, |times| {
                time(|| pool::map(&pool, (0..times).map(u64::from), plain_add_one, 1))
            }),
        )
        .with(
            "tarpc",
            repeated(SAMPLE, |times| time(|| tarpc.round_trips(times))),
        )
        .with(
            "ipc-channel",
            repeated(SAMPLE, |times| {
                time(|| {
                    for _ in 0..times {
                        assert_eq!(ipc.round_trip(black_box(1)), 2);
                    }
                })
            }),
        );
    if let Some(apart) = &mut apart {
        contest = contest.with(
            APART,
            repeated(SAMPLE, |times| {
                roles::use_core_here(Some(0));
                let seconds = time(|| ping(apart, times));
                roles::use_core_here(None);
                seconds
            }),
        );
    }
    if let Some(mut python) = python::start("pool") {
        contest = contest.with(
            "Python",
            repeated(SAMPLE, move |times| python.ask(&format!("trips {times}"))),
        );
    }
    contest.run(rounds)
}

fn ping(bare: &mut Bare, times: u32) {
    for _ in 0..times {
        bare.round_trip(&black_box(1u64).to_ne_bytes());
    }
}

pub(crate) fn after_quiet(settings: &Settings) -> Vec<Row> {
    let rounds = settings.rounds(40);
    let mut rows = after(0, rounds, "a call every 10 ms");
    rows.extend(after(100, rounds, "100 calls and then 10 ms of quiet"));
    rows.extend(wake_ups(settings));
    rows
}

/// Counts how often a thread of this process or of its children has to be woken for a call every 10 ms: the time of
/// such a call is mostly that of wake-ups.
fn wake_ups(settings: &Settings) -> Vec<Row> {
    const CALLS: usize = 20;
    let mut bare = Bare::start(8);
    let runtime = runtime();
    let sample = |once: &mut dyn FnMut()| {
        let before = sleeps();
        for _ in 0..CALLS {
            std::thread::sleep(QUIET);
            once();
        }
        // One of them ends the quiet.
        (sleeps() - before) as f64 / CALLS as f64 - 1.0
    };
    let samples = Contest::default()
        .with("bare", || sample(&mut || ping(&mut bare, 1)))
        .with("awaited", || {
            sample(&mut || {
                let call = async { add_one.remote(black_box(1)).await };
                runtime.block_on(call).expect("a result");
            })
        })
        .with("waited", || {
            sample(&mut || {
                add_one.remote(black_box(1)).wait().expect("a result");
            })
        })
        .run(settings.rounds(10));
    let row = |way, ours| {
        let title = format!("wake-ups for a call every 10 ms, {way}");
        Row::new(title, Unit::WakeUps, &samples, ours, Goal::None)
    };
    vec![row("awaited", "awaited"), row("waited for", "waited")]
}

/// Returns how often the threads of this process and of its children have gone to sleep.
fn sleeps() -> u64 {
    let sleeps_of = |process: u32| -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{process}/task"))
            .into_iter()
            .flatten();
        let sleeps = threads.filter_map(|thread| {
            let status = std::fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
            let count = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count?.trim().parse::<u64>().ok()
        });
        sleeps.sum()
    };
    let processes = std::iter::once(std::process::id()).chain(roles::children());
    processes.map(sleeps_of).sum()
}

/// The time for which nothing is called before a call that is measured.
const QUIET: Duration = Duration::from_millis(10);

/// Measures calls after 10 ms of quiet, each preceded by `burst` calls that are not timed.
fn after(burst: u32, rounds: usize, title: &str) -> Vec<Row> {
    /// Contenders run in succession, so that the quiet lasts no longer than that. The first call does not
    /// count.
    const CALLS: usize = 4;
    let mut bare = Bare::start(8);
    let runtime = runtime();
    let sample = |once: &mut dyn FnMut()| {
        let mut timed = || {
            (0..burst).for_each(|_| once());
            std::thread::sleep(QUIET);
            time(&mut *once)
        };
        timed();
        median((0..CALLS).map(|_| timed()).collect())
    };
    let mut waited = || {
        add_one.remote(black_box(1)).wait().expect("a result");
    };
    let mut awaited = || {
        let call = async { add_one.remote(black_box(1)).await };
        runtime.block_on(call).expect("a result");
    };
    let samples = Contest::default()
        .with("bare", || sample(&mut || ping(&mut bare, 1)))
        .with("awaited", || sample(&mut awaited))
        .with("waited", || sample(&mut waited))
        .run(rounds);
    let row = |way, ours| {
        let title = format!("{title}, {way}");
        Row::new(title, Unit::Microseconds, &samples, ours, Goal::Times(1.2))
    };
    vec![row("awaited", "awaited"), row("waited for", "waited")]
}

pub(crate) fn beside_hogs(settings: &Settings) -> Vec<Row> {
    /// Long enough for every contender to be preempted several times.
    const SAMPLE: Duration = Duration::from_millis(20);
    let mut bare = Bare::start(8);
    let runtime = runtime();
    let _hogs = Hogs::start();
    let samples = Contest::default()
        .with(
            "bare",
            repeated(SAMPLE, |times| time(|| ping(&mut bare, times))),
        )
        .with(
            "awaited",
            repeated(SAMPLE, |times| {
                time(|| {
                    runtime.block_on(async {
                        for _ in 0..times {
                            add_one.remote(black_box(1)).await.expect("a result");
                        }
                    });
                })
            }),
        )
        .with(
            "waited",
            repeated(SAMPLE, |times| {
                time(|| {
                    for _ in 0..times {
                        add_one.remote(black_box(1)).wait().expect("a result");
                    }
                })
            }),
        )
        .run(settings.rounds(60));
    let row = |title, ours| Row::new(title, Unit::Microseconds, &samples, ours, Goal::Times(1.2));
    vec![
        row("with all cores busy, awaited", "awaited"),
        row("with all cores busy, waited for", "waited"),
    ]
}

/// A thread for each core that keeps the core busy.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hog = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        };
        let threads = (0..cores()).map(hog).collect();
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

/// Measures the cost of a policy for a call that succeeds, and the cost of a retry.
pub(crate) fn retries(settings: &Settings) -> Vec<Row> {
    let rounds = settings.rounds(100);
    let policy = |retries: u32| {
        repeated(SAMPLE, move |times| {
            time(|| {
                for _ in 0..times {
                    let call = succeed.remote(black_box(1)).retries(retries);
                    call.wait().expect("a result");
                }
            })
        })
    };
    let samples = Contest::default()
        .with("bare", policy(0))
        .with("ours", policy(3))
        .run(rounds);
    // A difference below the noise is no difference.
    let goal = Goal::Times(1.05);
    let title = "a call that succeeds, with `retries = 3`";
    let row = Row::new(title, Unit::Microseconds, &samples, "ours", goal);
    let mut rows = vec![row.against(&samples, "ours", "bare", "`retries = 0`:")];

    rows.push(a_retry(
        "what a retry without delay adds",
        rounds,
        |fail_first| succeed_at_last.remote(fail_first),
    ));
    roles::use_cores(Some(0));
    rows.push(a_retry("the same on one core", rounds, |fail_first| {
        succeed_at_last_on_one_core.remote(fail_first)
    }));
    roles::use_cores(None);
    rows
}

fn a_retry(title: &str, rounds: usize, function: fn(bool) -> Call<u32, String>) -> Row {
    let calls = |fail_first, attempts| {
        repeated(SAMPLE, move |times| {
            time(|| {
                for _ in 0..times {
                    let result = function(fail_first).wait();
                    assert_eq!(result.expect("a result"), attempts);
                }
            })
        })
    };
    let samples = Contest::default()
        .with("without", calls(false, 1))
        .with("with", calls(true, 2))
        .run(rounds);
    let added = samples.paired("with", "without", |with, without| with - without);
    Row::amount(title, Unit::Microseconds, added, Goal::Value(5e-6))
}
