//! Tests of calls in worker processes, over either transport: `.ci/run` runs them over the rings and over the
//! socket.

mod accounting;
mod calls;
mod captured;
mod checkpoints;
mod crashes;
mod escapees;
mod events;
mod failure_texts;
mod faults;
mod forks;
mod identities;
mod kit;
mod limits;
mod limits_hold;
mod maps;
mod matrix;
mod nested;
mod output;
mod panics;
mod processes;
mod races;
mod regressions;
mod reports;
mod retries;
mod runtimes;
mod server;
pub mod services;
mod serving;
mod shared;
mod staged;
mod standby;
mod start_up;
mod state;
mod together;
mod values;
