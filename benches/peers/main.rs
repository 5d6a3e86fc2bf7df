//! Compares the speed of the runtime with that of its peers, in one run:
//!
//! `cargo bench --manifest-path benches/Cargo.toml [-- [--quick] [filter]]`
//!
//! The table at the end shows medians. A filter selects sections by a part of their names.

mod amounts;
mod bare;
mod flat;
mod functions;
mod harness;
mod ipc;
mod large;
mod maps;
mod plots;
mod pool;
mod python;
mod roles;
mod shared;
mod starts;
mod table;
mod tarpc_peer;
mod trips;

use std::time::Instant;

use harness::Settings;
use table::Row;

type Section = (&'static str, fn(&Settings) -> Vec<Row>);

const SECTIONS: &[Section] = &[
    ("round_trip", trips::back_to_back),
    ("on_one_core", trips::on_one_core),
    ("after_quiet", trips::after_quiet),
    ("beside_hogs", trips::beside_hogs),
    ("map_numbers", maps::numbers),
    ("map_even_work", maps::even_work),
    ("map_uneven_work", maps::uneven_work),
    ("map_bytes", maps::bytes),
    ("large", large::one_way),
    ("shared", shared::table),
    ("start_cold", starts::cold),
    ("start_after_kill", starts::after_kill),
    ("retries", trips::retries),
    ("allocations", amounts::allocations),
    ("memory", amounts::memory),
    ("flat_workers", flat::workers),
    ("flat_queue", flat::queue),
];

type Drawing = (&'static str, fn(&Settings));

const PLOTS: &[Drawing] = &[
    ("plot_payload", plots::payload),
    ("plot_bandwidth", plots::bandwidth),
    ("plot_work", plots::work_per_input),
    ("plot_queue", plots::queue),
];

fn main() {
    retry_runtime::init();
    procspawn::init();
    if roles::enter() {
        return;
    }
    let settings = Settings::from_arguments();
    let mut rows = Vec::new();
    for (name, section) in SECTIONS {
        measure(&settings, name, || rows.extend(section(&settings)));
    }
    for (name, plot) in PLOTS {
        measure(&settings, name, || plot(&settings));
    }
    if !rows.is_empty() {
        table::print(&rows);
    }
}

/// Runs a section if it is selected, and prints its duration.
fn measure(settings: &Settings, name: &str, section: impl FnOnce()) {
    if settings.wants(name) {
        let begun = Instant::now();
        section();
        eprintln!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
}
