//! Maps over many inputs.

use std::hint::black_box;
use std::num::NonZero;
use std::time::Duration;

use bytes::Bytes;
use rayon::prelude::*;

use crate::bare::{Answers, Bare};
use crate::functions::{
    Blob, add_one, echo, echo_bytes, echo_floats, echo_slice, plain_add_one, plain_echo,
    plain_work, work,
};
use crate::harness::{Contest, Samples, Settings, time};
use crate::table::{Goal, Row, Unit};
use crate::tarpc_peer::Tarpc;
use crate::{ipc, pool, python};

pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

// ---------------------------------------------------------------------------------------- numbers

/// The maximum number of inputs in a sample of this library, and the intended duration of a sample below it.
const INPUTS: u64 = 10_000_000;
const MAP_SAMPLE: Duration = Duration::from_secs(1);

/// The numbers of inputs that the slower peers process in some tenths of a second.
const TARPC_INPUTS: u64 = 50_000;
const IPC_INPUTS: u64 = 50_000;
const PROCSPAWN_INPUTS: u64 = 5_000;
const PYTHON_INPUTS: u64 = 2_000_000;

pub(crate) const TARPC_IN_FLIGHT: usize = 512;

pub(crate) fn numbers(settings: &Settings) -> Vec<Row> {
    let cores = cores();
    let tarpc = Tarpc::start(cores);
    let pool = pool::start(cores);
    let peers: Vec<ipc::Peer> = (0..cores).map(|_| ipc::Peer::start()).collect();
    let inputs = fitting(settings);
    let mut contest = Contest::default()
        .with("ours", || map_numbers(inputs))
        .with("tarpc", || {
            time(|| tarpc.map(0..TARPC_INPUTS, TARPC_IN_FLIGHT)) / TARPC_INPUTS as f64
        })
        .with("ipc-channel", || {
            time(|| ipc::map(&peers, IPC_INPUTS)) / IPC_INPUTS as f64
        })
        .with("procspawn", || {
            let inputs = 0..PROCSPAWN_INPUTS;
            time(|| pool::map(&pool, inputs, plain_add_one, pool::IN_FLIGHT))
                / PROCSPAWN_INPUTS as f64
        });
    if let Some(mut python) = python::start("pool") {
        contest = contest.with("Python", move || {
            python.ask(&format!("map {PYTHON_INPUTS}")) / PYTHON_INPUTS as f64
        });
    }
    let samples = contest.run(settings.rounds(8));
    let peers = &["Python", "tarpc", "ipc-channel", "procspawn"];
    let row = Row::new(
        "map over `u64`s",
        Unit::Inputs,
        &samples,
        "ours",
        Goal::Value(10e6),
    );
    vec![row.beside(&samples, "ours", peers)]
}

/// Returns the seconds per input.
fn map_numbers(inputs: u64) -> f64 {
    let mut sum = 0;
    let elapsed = time(|| {
        sum = add_one
            .map(0..inputs)
            .into_iter()
            .map(|result| result.expect("a result"))
            .sum::<u64>();
    });
    assert_eq!(sum, inputs * (inputs + 1) / 2);
    elapsed / inputs as f64
}

fn fitting(settings: &Settings) -> u64 {
    map_numbers(100_000);
    let each = map_numbers(100_000);
    let most = if settings.quick { INPUTS / 10 } else { INPUTS };
    ((MAP_SAMPLE.as_secs_f64() / each) as u64).min(most)
}

// ------------------------------------------------------------------------------------------- work

/// Returns the number of steps of work that take this long on an otherwise idle core.
pub(crate) fn steps_in(time_of_work: Duration) -> u64 {
    const PROBE: u64 = 1_000_000;
    let probe = || time(|| plain_work(black_box(PROBE)));
    let least = (0..30).map(|_| probe()).fold(f64::INFINITY, f64::min);
    let steps = PROBE as f64 * time_of_work.as_secs_f64() / least;
    steps as u64
}

pub(crate) fn with_rayon(inputs: &[u64]) {
    let sum: u64 = inputs
        .par_iter()
        .map(|steps| plain_work(*steps))
        .reduce(|| 0, u64::wrapping_add);
    black_box(sum);
}

pub(crate) fn with_workers(inputs: &[u64]) {
    for result in work.map(inputs.iter().copied()) {
        black_box(result.expect("a result"));
    }
}

pub(crate) fn even_work(settings: &Settings) -> Vec<Row> {
    const INPUTS: usize = 20_000;
    let inputs = vec![steps_in(Duration::from_micros(20)); INPUTS];
    let samples = Contest::default()
        .with("rayon", || time(|| with_rayon(&inputs)) / INPUTS as f64)
        .with("ours", || time(|| with_workers(&inputs)) / INPUTS as f64)
        .run(settings.rounds(16));
    let title = "map over 20 us of work each";
    let row = Row::new(title, Unit::Inputs, &samples, "ours", Goal::Times(0.9));
    vec![row.against(&samples, "ours", "rayon", "rayon, in this process:")]
}

pub(crate) fn uneven_work(settings: &Settings) -> Vec<Row> {
    const INPUTS: u64 = 2000;
    let short = steps_in(Duration::from_micros(10));
    let steps = |input: u64| {
        if input % 100 == 50 {
            1000 * short
        } else {
            short
        }
    };
    let inputs: Vec<u64> = (0..INPUTS).map(steps).collect();
    let mut samples = Contest::default()
        .with("before", || ideal(&inputs))
        .with("ours", || time(|| with_workers(&inputs)))
        .with("after", || ideal(&inputs))
        .run(settings.rounds(16));
    let title = "map where 1 % take 10 ms and the rest 10 us";
    samples.combine("ideal", "before", "after", |before, after| {
        (before + after) / 2.0
    });
    let row = Row::new(
        title,
        Unit::Milliseconds,
        &samples,
        "ours",
        Goal::Times(1.1),
    );
    vec![row.against(&samples, "ours", "ideal", "ideal, computed:")]
}

/// Returns the current duration of the ideal schedule of this work, in seconds. The work is executed for
/// that, with all cores busy and no input waiting for another: a core that is slow, or shared with another
/// process, is then as slow for the ideal schedule as for the library, and gets less of the work.
fn ideal(inputs: &[u64]) -> f64 {
    let cores = cores();
    let share = |core: usize| {
        // Sorted, so that the cores get equal shares of long and short inputs.
        let mut sorted = inputs.to_vec();
        sorted.sort_unstable();
        let mine = sorted.into_iter().rev().skip(core).step_by(cores);
        let mine: Vec<u64> = mine.collect();
        move || {
            time(|| {
                for steps in mine {
                    black_box(plain_work(steps));
                }
            })
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(share(core))).collect();
        let times = threads
            .into_iter()
            .map(|thread| thread.join().expect("it works"));
        cores as f64 / times.map(f64::recip).sum::<f64>()
    })
}

// ------------------------------------------------------------------------------------------ bytes

pub(crate) const INPUTS_OF_1_MIB: usize = 200;

/// The bare peer with a receiver that keeps each message.
const KEEPING: &str = "bare into new memory";

pub(crate) fn bytes(settings: &Settings) -> Vec<Row> {
    let cores = cores();
    let mut bare = Bare::start(MIB);
    let mut keeping = Bare::start(MIB);
    let tarpc = Tarpc::start(cores);
    let pool = pool::start(cores);
    let vec = vec![7u8; MIB];
    let shared = Bytes::from(vec.clone());
    let floats = vec![7f64; MIB / size_of::<f64>()];
    let blobs = || -> Vec<Blob> {
        let blobs = (0..INPUTS_OF_1_MIB).map(|_| Blob(vec.clone()));
        blobs.collect()
    };
    // Counts both directions.
    let per_byte = |seconds: f64| seconds / (2 * INPUTS_OF_1_MIB * MIB) as f64;
    let mut contest = Contest::default()
        .with("bare", || {
            let answers = Answers::InOnePlace;
            per_byte(time(|| bare.stream(&vec, INPUTS_OF_1_MIB, answers)))
        })
        .with(KEEPING, || {
            let answers = Answers::InTheirOwn;
            per_byte(time(|| keeping.stream(&vec, INPUTS_OF_1_MIB, answers)))
        })
        .with("Vec<u8>", || {
            let inputs = vec![vec.clone(); INPUTS_OF_1_MIB];
            per_byte(time(|| {
                for result in echo.map(inputs) {
                    assert_eq!(result.expect("a result").len(), MIB);
                }
            }))
        })
        .with("&[u8]", || {
            let inputs = std::iter::repeat_n(vec.as_slice(), INPUTS_OF_1_MIB);
            per_byte(time(|| {
                for result in echo_slice.map(inputs) {
                    assert_eq!(result.expect("a result").len(), MIB);
                }
            }))
        })
        .with("Bytes", || {
            let inputs = std::iter::repeat_n(shared.clone(), INPUTS_OF_1_MIB);
            per_byte(time(|| {
                for result in echo_bytes.map(inputs) {
                    assert_eq!(result.expect("a result").len(), MIB);
                }
            }))
        })
        .with("Vec<f64>", || {
            let inputs = vec![floats.clone(); INPUTS_OF_1_MIB];
            per_byte(time(|| {
                for result in echo_floats.map(inputs) {
                    assert_eq!(result.expect("a result").len(), floats.len());
                }
            }))
        })
        .with("procspawn", || {
            let inputs = blobs();
            per_byte(time(|| {
                pool::map(&pool, inputs, plain_echo, pool::LARGE_IN_FLIGHT)
            }))
        })
        .with("tarpc", || {
            let inputs = blobs();
            per_byte(time(|| tarpc.map_bytes(inputs, 2 * cores)))
        });
    if let Some(mut python) = python::start("pool") {
        contest = contest.with("Python", move || {
            per_byte(python.ask(&format!("bytes {INPUTS_OF_1_MIB}")))
        });
    }
    let samples = contest.run(settings.rounds(12));
    let mut rows = rows_of_bytes("map over 200 x 1 MiB, in + out", &samples);
    rows.extend(rows_of_bytes(
        "one call of 64 MiB, in + out",
        &large(settings),
    ));
    rows
}

fn large(settings: &Settings) -> Samples {
    const LARGE: usize = 64 * MIB;
    let mut bare = Bare::start(LARGE);
    let mut keeping = Bare::start(LARGE);
    let tarpc = Tarpc::start(1);
    let pool = pool::start(1);
    let vec = vec![7u8; LARGE];
    let shared = Bytes::from(vec.clone());
    let floats = vec![7f64; LARGE / size_of::<f64>()];
    let per_byte = |seconds: f64| seconds / (2 * LARGE) as f64;
    Contest::default()
        .with("bare", || per_byte(time(|| bare.round_trip(&vec))))
        .with(KEEPING, || {
            per_byte(time(|| keeping.trip(&vec, Answers::InTheirOwn)))
        })
        .with("Vec<u8>", || {
            let input = vec.clone();
            per_byte(time(|| echo.remote(input).wait().expect("a result")))
        })
        .with("&[u8]", || {
            per_byte(time(|| echo_slice.remote(&vec).wait().expect("a result")))
        })
        .with("Bytes", || {
            let input = shared.clone();
            per_byte(time(|| echo_bytes.remote(input).wait().expect("a result")))
        })
        .with("Vec<f64>", || {
            let input = floats.clone();
            per_byte(time(|| echo_floats.remote(input).wait().expect("a result")))
        })
        .with("procspawn", || {
            let input = Blob(vec.clone());
            per_byte(time(|| {
                pool.spawn(input, plain_echo).join().expect("a result")
            }))
        })
        .with("tarpc", || {
            let input = Blob(vec.clone());
            per_byte(time(|| tarpc.echo(input)))
        })
        .run(settings.rounds(12))
}

fn rows_of_bytes(title: &str, samples: &Samples) -> Vec<Row> {
    let row = |ours, peers| {
        let title = format!("{title}, `{ours}`");
        Row::new(title, Unit::Bandwidth, samples, ours, Goal::Times(1.0))
            .beside(samples, ours, peers)
    };
    vec![
        row("Vec<u8>", &[KEEPING, "procspawn", "tarpc", "Python"]),
        row("&[u8]", &[KEEPING]),
        row("Bytes", &[KEEPING]),
        row("Vec<f64>", &[KEEPING]),
    ]
}
