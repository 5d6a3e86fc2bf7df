//! The same as `first_call` for procspawn; the first time includes the creation of its pool.

use std::io::BufRead;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use procspawn::Pool;
use rustix::process::{Pid, Signal, kill_process};

fn process_id((): ()) -> u32 {
    std::process::id()
}

/// Makes calls until one succeeds: the call that finds the worker dead fails or panics, and the next one is
/// served.
fn call(pool: &Pool) -> u32 {
    let once = || {
        let call = AssertUnwindSafe(|| pool.spawn((), process_id).join().ok());
        catch_unwind(call).ok().flatten()
    };
    let mut calls = std::iter::repeat_with(once).flatten();
    calls.next().expect("it repeats until there is one")
}

fn main() {
    procspawn::init();
    std::panic::set_hook(Box::new(|_| {}));
    let before = Instant::now();
    let pool = Pool::new(1).expect("a pool");
    let mut worker = call(&pool);
    println!("{}", before.elapsed().as_nanos());
    for line in std::io::stdin().lock().lines() {
        assert_eq!(line.expect("a line"), "kill");
        let process = i32::try_from(worker).ok().and_then(Pid::from_raw);
        let process = process.expect("a process");
        let before = Instant::now();
        kill_process(process, Signal::KILL).expect("it is a worker of ours");
        worker = call(&pool);
        println!("{}", before.elapsed().as_nanos());
    }
}
