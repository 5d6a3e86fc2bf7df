//! Large arguments and results, in one direction at a time.

use std::time::Duration;

use bytes::Bytes;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::bare::{Answers, Bare};
use crate::functions::{
    Image, bytes_of, echo, echo_image, look_at_bytes, look_at_slice, plain_squares, squares,
};
use crate::harness::{Contest, Settings, repeated, time};
use crate::maps::{INPUTS_OF_1_MIB, MIB};
use crate::table::{Goal, Row, Unit};

/// The size of a large message, in bytes.
const LARGE: usize = 64 * MIB;

/// The least time of a sample: a single call of 64 MiB is short.
const SAMPLE: Duration = Duration::from_millis(100);

/// The amount of data as users count it, in bytes: a megabyte has a million.
const MEGABYTE: usize = 1_000_000;

pub(crate) fn one_way(settings: &Settings) -> Vec<Row> {
    let mut rows = arguments(settings);
    rows.extend(results(settings));
    rows.push(structs(settings));
    rows.push(numbers(settings, 64, 4 * MEGABYTE));
    rows.push(numbers(settings, 8, 64 * MEGABYTE));
    rows
}

fn arguments(settings: &Settings) -> Vec<Row> {
    let small = vec![7u8; MIB];
    let mut bare = Bare::answering(MIB, 1);
    let shared = Bytes::from(small.clone());
    let per_byte = |seconds: f64| seconds / (INPUTS_OF_1_MIB * MIB) as f64;
    let samples = Contest::default()
        .with("bare", || {
            let answers = Answers::InOnePlace;
            per_byte(time(|| bare.stream(&small, INPUTS_OF_1_MIB, answers)))
        })
        .with("&[u8]", || {
            let inputs = std::iter::repeat_n(&small, INPUTS_OF_1_MIB);
            per_byte(time(|| {
                for result in look_at_slice.map(inputs) {
                    result.expect("a result");
                }
            }))
        })
        .with("Bytes", || {
            let inputs = std::iter::repeat_n(shared.clone(), INPUTS_OF_1_MIB);
            per_byte(time(|| {
                for result in look_at_bytes.map(inputs) {
                    result.expect("a result");
                }
            }))
        })
        .run(settings.rounds(12));
    let goal = Goal::Times(1.5);
    let row = |title: &str, samples, ours, goal| {
        let title = format!("{title}, in, `{ours}`");
        Row::new(title, Unit::Bandwidth, samples, ours, goal)
    };
    let map = "map over 200 x 1 MiB";
    let mut rows = vec![
        row(map, &samples, "&[u8]", goal),
        row(map, &samples, "Bytes", Goal::None),
    ];
    let large = vec![7u8; LARGE];
    let mut bare = Bare::answering(LARGE, 1);
    let per_byte = |seconds: f64| seconds / LARGE as f64;
    let mut trip = repeated(SAMPLE, |times| {
        time(|| (0..times).for_each(|_| bare.round_trip(&large)))
    });
    let mut call = repeated(SAMPLE, |times| {
        time(|| {
            for _ in 0..times {
                look_at_slice.remote(&large).wait().expect("a result");
            }
        })
    });
    let samples = Contest::default()
        .with("bare", || per_byte(trip()))
        .with("&[u8]", || per_byte(call()))
        .run(settings.rounds(12));
    rows.push(row("calls of 64 MiB", &samples, "&[u8]", goal));
    rows
}

fn results(settings: &Settings) -> Vec<Row> {
    let mut bare = Bare::answering(1, MIB);
    let per_byte = |seconds: f64| seconds / (INPUTS_OF_1_MIB * MIB) as f64;
    let samples = Contest::default()
        .with("bare", || {
            let answers = Answers::InOnePlace;
            per_byte(time(|| bare.stream(&[0], INPUTS_OF_1_MIB, answers)))
        })
        .with("Bytes", || {
            let inputs = std::iter::repeat_n(MIB, INPUTS_OF_1_MIB);
            per_byte(time(|| {
                for result in bytes_of.map(inputs) {
                    assert_eq!(result.expect("a result").len(), MIB);
                }
            }))
        })
        .run(settings.rounds(12));
    let row = |title: &str, samples| {
        let title = format!("{title}, out, `Bytes`");
        Row::new(title, Unit::Bandwidth, samples, "Bytes", Goal::Times(1.5))
    };
    let mut rows = vec![row("map over 200 x 1 MiB", &samples)];
    let mut bare = Bare::answering(1, LARGE);
    let per_byte = |seconds: f64| seconds / LARGE as f64;
    let mut trip = repeated(SAMPLE, |times| {
        time(|| (0..times).for_each(|_| bare.round_trip(&[0])))
    });
    let mut call = repeated(SAMPLE, |times| {
        time(|| {
            for _ in 0..times {
                let result = bytes_of.remote(LARGE).wait();
                assert_eq!(result.expect("a result").len(), LARGE);
            }
        })
    });
    let samples = Contest::default()
        .with("bare", || per_byte(trip()))
        .with("Bytes", || per_byte(call()))
        .run(settings.rounds(12));
    rows.push(row("calls of 64 MiB", &samples));
    rows
}

fn structs(settings: &Settings) -> Row {
    let vec = vec![7u8; MIB];
    let image = || Image {
        name: "an image".to_owned(),
        width: 1024,
        height: 1024,
        pixels: vec.clone(),
    };
    let mut as_struct = repeated(SAMPLE, |times| {
        let images: Vec<_> = (0..times).map(|_| image()).collect();
        time(|| {
            for image in images {
                let result = echo_image.remote(image).wait();
                assert_eq!(result.expect("a result").pixels.len(), MIB);
            }
        })
    });
    let mut as_vec = repeated(SAMPLE, |times| {
        let inputs: Vec<_> = (0..times).map(|_| vec.clone()).collect();
        time(|| {
            for input in inputs {
                let result = echo.remote(input).wait();
                assert_eq!(result.expect("a result").len(), MIB);
            }
        })
    });
    let per_byte = |seconds: f64| seconds / (2 * MIB) as f64;
    let samples = Contest::default()
        .with("Vec<u8>", || per_byte(as_vec()))
        .with("struct", || per_byte(as_struct()))
        .run(settings.rounds(12));
    let title = "calls of 1 MiB in and out, a struct with a `Vec<u8>`";
    Row::amount(
        title,
        Unit::Bandwidth,
        samples.median("struct"),
        Goal::Times(0.8),
    )
    .against(&samples, "struct", "Vec<u8>", "the `Vec<u8>` alone:")
}

fn numbers(settings: &Settings, count: usize, size: usize) -> Row {
    let inputs: Vec<Vec<f64>> = (0..count)
        .map(|input| vec![input as f64; size / size_of::<f64>()])
        .collect();
    let samples = Contest::default()
        .with("rayon", || {
            time(|| {
                let sums = inputs.par_iter().map(|numbers| plain_squares(numbers));
                sums.sum::<f64>()
            })
        })
        .with("ours", || {
            time(|| {
                let sums = squares.map(&inputs).into_iter();
                sums.map(|sum| sum.expect("a result")).sum::<f64>()
            })
        })
        .run(settings.rounds(12));
    let title = format!(
        "map over {count} x {} MB of `&[f64]`, a number out",
        size / MEGABYTE
    );
    Row::amount(
        title,
        Unit::Milliseconds,
        samples.median("ours"),
        Goal::Times(2.0),
    )
    .against(&samples, "ours", "rayon", "rayon, in this process:")
}
