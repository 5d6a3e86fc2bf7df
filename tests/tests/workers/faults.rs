//! The faults of `docs/faults.md` that no other module covers. Comments state their numbers.

mod concurrency;
mod dead_workers;
mod life_cycle;
mod memory;
mod output;
mod time;
