//! Runs calls of every kind from many threads for minutes or hours, injects faults at random, and checks each
//! call against a ledger that the executions write.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin soak -- --minutes 60 --seed 1
//! ```
//!
//! The program starts itself once more: the supervisor (`supervisor`) waits for the run (`run`) and checks
//! for processes that outlive it. In the run, drivers (`scenarios`) make calls of the functions in
//! `functions` through the uniform view of them in `stubs`. Each call is entered in the book (`book`), and
//! its result is judged at once (`judge`). Meanwhile, `faults` kills, stops and starves workers. The audit
//! (`audit`) compares the book with the ledger (`ledger`), epoch by epoch.

mod arguments;
mod audit;
mod book;
mod faults;
mod forks;
mod functions;
mod job;
mod judge;
mod ledger;
mod resources;
mod run;
mod scenarios;
mod stubs;
mod supervisor;
mod system;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    retry_runtime::init();
    let arguments = match arguments::Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match ledger::directory() {
        Some(_) => run::run(&arguments),
        None => supervisor::supervise(&arguments),
    }
}
