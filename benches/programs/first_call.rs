//! A program of one function: how long its first call takes, and the next one after its worker has
//! been killed.
//!
//! It makes a call and prints how many nanoseconds that took. Then it does what each line of its
//! standard input asks for, and prints how long that took.

use std::io::BufRead;
use std::time::{Duration, Instant};

use retry_runtime::{CrashLimit, function};
use rustix::process::{Pid, Signal, kill_process};

/// With two workers the other one would take over.
#[function(max_workers = 1, crash_limit = CrashLimit::unlimited())]
fn process_id() -> u32 {
    std::process::id()
}

fn call() -> u32 {
    process_id.remote().wait().expect("a result")
}

/// Long enough for what is made ready for the next time.
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
