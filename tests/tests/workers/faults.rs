//! The faults of `docs/faults.md` that have no place in another module. Comments give their numbers.

mod concurrency;
mod dead_workers;
mod life_cycle;
mod memory;
mod output;
mod time;
