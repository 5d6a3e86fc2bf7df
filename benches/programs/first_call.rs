//! A program of one function, to measure its first call, and the next one after its worker has been killed.
//!
//! It makes a call and prints its duration in nanoseconds. Then it performs the request in each line of its
//! standard input, and prints its duration.

use std::io::BufRead;
use std::time::{Duration, Instant};

use retry_runtime::{CrashLimit, function};
use rustix::process::{Pid, Signal, kill_process};

/// One worker: with two, the other one would take over.
#[function(max_workers = 1, crash_limit = CrashLimit::unlimited())]
fn process_id() -> u32 {
    std::process::id()
}

fn call() -> u32 {
    process_id.remote().wait().expect("a result")
}

/// Long enough for preparations for the next call.
const PAUSE: Duration = Duration::from_millis(20);

fn main() {
    retry_runtime::init();
    let before = Instant::now();
    let mut worker = call();
    println!("{}", before.elapsed().as_nanos());
    for line in std::io::stdin().lock().lines() {
        assert_eq!(line.expect("a line"), "kill");
        std::thread::sleep(PAUSE);
        let process = i32::try_from(worker).ok().and_then(Pid::from_raw);
        let process = process.expect("a process");
        let before = Instant::now();
        kill_process(process, Signal::KILL).expect("it is a worker of ours");
        let next = call();
        let elapsed = before.elapsed();
        assert_ne!(next, worker);
        worker = next;
        println!("{}", elapsed.as_nanos());
    }
}
