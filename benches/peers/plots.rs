//! Plots of costs that depend on a size or a number.

use std::convert::Infallible;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use plotters::prelude::*;
use retry_runtime::{Call, Shared};

use crate::bare::Bare;
use crate::flat::queued;
use crate::functions::{
    Blob, echo, look_at_bytes, look_at_shared, look_at_slice, look_at_vec, plain_echo,
    plain_look_at, plain_work,
};
use crate::harness::{Contest, Samples, Settings, repeated, time};
use crate::maps::{TARPC_IN_FLIGHT, cores, steps_in, with_rayon, with_workers};
use crate::pool;
use crate::tarpc_peer::Tarpc;

/// Returns the path that the documents refer to; quick measurements go to a temporary directory.
fn file(settings: &Settings, name: &str) -> PathBuf {
    let directory = if settings.quick {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("plots")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots")
    };
    std::fs::create_dir_all(&directory).expect("a directory for the plots");
    directory.join(format!("{name}.svg"))
}

pub(crate) fn payload(settings: &Settings) {
    const SIZES: [usize; 8] = [8, 64, 512, 4 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20];
    let mut plot = Plot::new("Round trip", "bytes, in and out each", "time in us");
    for size in SIZES {
        let input = vec![7u8; size];
        let mut bare = Bare::start(size);
        let tarpc = Tarpc::start(1);
        let pool = pool::start(1);
        let length = Duration::from_millis(5);
        let samples = Contest::default()
            .with(
                "retry-runtime",
                repeated(length, |times| {
                    time(|| {
                        (0..times).for_each(|_| {
                            echo.remote(input.clone()).wait().expect("a result");
                        })
                    })
                }),
            )
            .with(
                "bare Unix socket",
                repeated(length, |times| {
                    time(|| (0..times).for_each(|_| bare.round_trip(&input)))
                }),
            )
            .with(
                "procspawn",
                repeated(length, |times| {
                    time(|| {
                        (0..times).for_each(|_| {
                            let call = pool.spawn(Blob(input.clone()), plain_echo);
                            call.join().expect("a result");
                        })
                    })
                }),
            )
            .with(
                "tarpc",
                repeated(length, |times| {
                    time(|| (0..times).for_each(|_| drop(tarpc.echo(Blob(input.clone())))))
                }),
            )
            .run(settings.rounds(20));
        plot.add(size as f64, &samples, |seconds| seconds * 1e6);
    }
    plot.draw(
        &file(settings, "payload"),
        show_bytes,
        SeriesLabelPosition::UpperLeft,
    );
}

/// Draws how fast data gets to a function, which looks at each page of it.
pub(crate) fn bandwidth(settings: &Settings) {
    const SIZES: [usize; 7] = [
        4 << 10,
        32 << 10,
        256 << 10,
        2 << 20,
        16 << 20,
        128 << 20,
        1 << 30,
    ];
    /// The largest size for a slow peer.
    const SLOW: usize = 128 << 20;
    let mut plot = Plot::new("Data into a function", "bytes", "bytes per second");
    retry_runtime::set_max_message(2 << 30);
    for size in SIZES {
        let input = vec![7u8; size];
        let bytes = Bytes::from(input.clone());
        let mut bare = Bare::answering(size, 1);
        let pool = pool::start(1);
        let length = Duration::from_millis(5);
        let call = |call: Call<u64, Infallible>| black_box(call.wait().expect("a result"));
        let mut contest = Contest::default()
            .with(
                "bare Unix socket",
                repeated(length, |times| {
                    time(|| (0..times).for_each(|_| bare.round_trip(&input)))
                }),
            )
            .with(
                "`&[u8]`",
                repeated(length, |times| {
                    time(|| (0..times).for_each(|_| _ = call(look_at_slice.remote(&input))))
                }),
            )
            .with(
                "`Vec<u8>`",
                repeated(length, |times| {
                    let inputs = vec![input.clone(); times as usize];
                    time(|| {
                        inputs
                            .into_iter()
                            .for_each(|input| _ = call(look_at_vec.remote(input)));
                    })
                }),
            )
            .with(
                "`Bytes`",
                repeated(length, |times| {
                    time(|| (0..times).for_each(|_| _ = call(look_at_bytes.remote(bytes.clone()))))
                }),
            )
            .with(
                "a new `Shared` each",
                repeated(length, |times| {
                    time(|| {
                        (0..times).for_each(|_| {
                            let shared = Shared::new(&input[..]).expect("memory");
                            call(look_at_shared.remote(shared));
                        });
                    })
                }),
            );
        if size <= SLOW {
            contest = contest.with(
                "procspawn",
                repeated(length, |times| {
                    time(|| {
                        (0..times).for_each(|_| {
                            let call = pool.spawn(Blob(input.clone()), plain_look_at);
                            call.join().expect("a result");
                        })
                    })
                }),
            );
        }
        let samples = contest.run(settings.rounds(8));
        // A line per series goes into the documents, where it is easier to read than in the plot.
        for name in samples.names() {
            let rate = size as f64 / samples.median(name) / f64::from(1 << 30);
            eprintln!("bandwidth {size:>10} {name:<20} {rate:>6.2} GiB/s");
        }
        plot.add(size as f64, &samples, f64::recip);
        plot.scale_last(size as f64);
    }
    plot.draw(
        &file(settings, "bandwidth"),
        show_bytes,
        SeriesLabelPosition::LowerRight,
    );
}

pub(crate) fn work_per_input(settings: &Settings) {
    const NANOS: [u64; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
    /// The approximate work per sample in nanoseconds, and the maximum number of inputs.
    const WORK: u64 = 200_000_000;
    const INPUTS: u64 = 500_000;
    let cores = cores();
    let tarpc = Tarpc::start(cores);
    let pool = pool::start(cores);
    let of_one = steps_in(Duration::from_micros(100)) as f64 / 100_000.0;
    let mut plot = Plot::new("Map", "work per input", "inputs per second");
    for nanos in NANOS {
        let inputs = (WORK / nanos).min(INPUTS);
        let steps = ((of_one * nanos as f64) as u64).max(1);
        let inputs = vec![steps; inputs as usize];
        // Slower peers get fewer inputs.
        let some = &inputs[..inputs.len().min(20_000)];
        let few = &inputs[..inputs.len().min(4_000)];
        let each = |inputs: &[u64], seconds: f64| seconds / inputs.len() as f64;
        let samples = Contest::default()
            .with("retry-runtime", || {
                each(&inputs, time(|| with_workers(&inputs)))
            })
            .with("rayon, in process", || {
                each(&inputs, time(|| with_rayon(&inputs)))
            })
            .with("tarpc", || {
                let inputs = some.iter().copied();
                each(some, time(|| tarpc.map_work(inputs, TARPC_IN_FLIGHT)))
            })
            .with("procspawn", || {
                let inputs = few.iter().copied();
                each(
                    few,
                    time(|| pool::map(&pool, inputs, plain_work, pool::IN_FLIGHT)),
                )
            })
            .run(settings.rounds(8));
        plot.add(nanos as f64, &samples, |seconds| 1.0 / seconds);
    }
    plot.draw(
        &file(settings, "work"),
        show_nanos,
        SeriesLabelPosition::UpperRight,
    );
}

pub(crate) fn queue(settings: &Settings) {
    let mut plot = Plot::new(
        "Calls that are queued at once",
        "calls",
        "time for each in us",
    );
    for calls in [1, 10, 100, 1_000, 10_000, 100_000] {
        let samples = Contest::default().with("retry-runtime", || queued(calls));
        plot.add(calls as f64, &samples.run(settings.rounds(8)), |seconds| {
            seconds * 1e6
        });
    }
    plot.draw(
        &file(settings, "queued"),
        show_count,
        SeriesLabelPosition::UpperRight,
    );
}

// ---------------------------------------------------------------------------------------- drawing

const SIZE: (u32, u32) = (720, 420);

/// Colours that colour-blind readers can distinguish.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0x80, 0x80, 0x80),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
];

/// A line for each contender, with both axes logarithmic.
struct Plot {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    lines: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Plot {
    fn new(title: &'static str, x: &'static str, y: &'static str) -> Self {
        let lines = Vec::new();
        Self { title, x, y, lines }
    }

    /// Adds the point of each contender at `x`.
    fn add(&mut self, x: f64, samples: &Samples, y: fn(f64) -> f64) {
        for name in samples.names() {
            let point = (x, y(samples.median(name)));
            match self.lines.iter_mut().find(|(known, _)| *known == name) {
                Some((_, points)) => points.push(point),
                None => self.lines.push((name, vec![point])),
            }
        }
    }

    /// Multiplies the last point of each line that has one at `x`.
    fn scale_last(&mut self, x: f64) {
        for (_, points) in &mut self.lines {
            if let Some(last) = points.last_mut().filter(|last| last.0 == x) {
                last.1 *= x;
            }
        }
    }

    fn draw(&self, file: &Path, show_x: fn(&f64) -> String, legend: SeriesLabelPosition) {
        self.try_draw(file, show_x, legend)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        eprintln!("wrote {}", file.display());
    }

    fn try_draw(
        &self,
        file: &Path,
        show_x: fn(&f64) -> String,
        legend: SeriesLabelPosition,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let least = points().map(of).fold(f64::INFINITY, f64::min);
            let most = points().map(of).fold(0.0, f64::max);
            least..most
        };
        let (x, y) = (range(|point| point.0), range(|point| point.1));
        // Whole decades, so that each axis begins and ends with a labelled number.
        let decade = |value: f64, round: fn(f64) -> f64| 10f64.powf(round(value.log10()));
        let y = decade(y.start, f64::floor)..decade(y.end, f64::ceil);

        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 22))
            .margin(12)
            .margin_right(30)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .max_light_lines(1)
            .light_line_style(TRANSPARENT)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&show_x)
            .y_label_formatter(&show_count)
            .label_style(("sans-serif", 16))
            .draw()?;
        for ((name, points), colour) in self.lines.iter().zip(COLOURS) {
            let line =
                LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
            chart.draw_series(line)?.label(*name).legend(move |(x, y)| {
                PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
            });
        }
        chart
            .configure_series_labels()
            .position(legend)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 16))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// Formats a value in the largest unit that does not exceed it.
fn with_unit(value: f64, units: &[(f64, &str)]) -> String {
    let fitting = units.iter().find(|(unit, _)| value >= *unit);
    let (unit, name) = fitting.or(units.last()).copied().unwrap_or((1.0, ""));
    format!("{} {name}", (value / unit).round())
        .trim_end()
        .to_owned()
}

fn show_bytes(bytes: &f64) -> String {
    with_unit(*bytes, &[(1e6, "MB"), (1e3, "kB"), (1.0, "B")])
}

fn show_nanos(nanos: &f64) -> String {
    with_unit(*nanos, &[(1e6, "ms"), (1e3, "us"), (1.0, "ns")])
}

fn show_count(count: &f64) -> String {
    with_unit(*count, &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")])
}
