//! Code that the tests share: the fixture, ledgers in which functions record their executions, the examples
//! as programs, the state of processes, terminals, and repeatable random numbers.

mod fixture;
mod ledger;
pub mod machines;
mod programs;
pub mod relay;
mod seeded;
mod system;
mod terminal;

pub use fixture::{Conditions, fixture, fixture_async, fixture_outside, fixture_under, refused};
pub use ledger::{Entry, Ledger, record};
pub use programs::{example, root};
pub use seeded::seeded;
pub use system::{
    Forked, Process, close_descriptor, descendants, descriptors, eventually, fork, fork_with,
    has_rings, is_standby, kill_child, processes_with, standbys, threads, workers,
};
pub use terminal::{collect_screen, open_terminal, terminal};
