//! Forks of the program and of its workers.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::book::State;
use crate::functions::plain;
use crate::job::{Action, Job};
use crate::run::World;
use crate::stubs::{Pool, Target};

/// Time that a forked child may take to make a call.
const LIMIT: Duration = Duration::from_secs(60);

/// Exit codes of a forked child that made a call.
const RIGHT: i32 = 0;
const WRONG: i32 = 1;
const REFUSED: i32 = 2;

/// Forks this process. Only the calling thread continues in the child, where this returns 0.
fn fork() -> i32 {
    unsafe extern "C" {
        fn fork() -> i32;
    }
    // SAFETY: The other threads may hold locks, which stay locked in the child. The C library releases those
    // of its allocator, and the child takes none of this program's. The test checks that the child can use
    // the library nevertheless.
    unsafe { fork() }
}

/// Ends this process without running any handler that its parent has registered.
fn exit_at_once(code: i32) -> ! {
    unsafe extern "C" {
        fn _exit(code: i32) -> !;
    }
    // SAFETY: `_exit` accepts any number and does not return.
    unsafe { _exit(code) }
}

/// Forks a child that exits at once, and waits for it.
pub fn fork_and_exit() {
    match fork() {
        0 => exit_at_once(0),
        pid => wait_for(pid),
    }
}

/// Forks, and returns whether this is the child. Reaps the earlier children that have ended.
pub fn fork_is_child() -> bool {
    while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
    fork() == 0
}

fn wait_for(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid.max(0)) {
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}

/// Forks the program from time to time until the run is over. The children exit at once, or make a call.
pub fn fork_now_and_then(world: &World, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    while !world.is_over() {
        std::thread::sleep(Duration::from_millis(rng.u64(100..1500)));
        world.book.count(|counts| counts.forks += 1);
        if rng.u32(0..3) == 0 {
            fork_and_exit();
        } else {
            fork_and_call(world, rng.u64(..));
        }
    }
}

fn fork_and_call(world: &World, seed: u64) {
    let target = Target::of(Pool::Plain);
    let token = world.book.token();
    // The child has its own workers, and therefore its own place.
    let place = crate::stubs::place_of_runtime();
    let job = Job::new(token, place, Action::Return, seed, (100, 100));
    world.book.submit(&target, &job, false);
    let answer = Job::answer(job.seed, job.answer_size);
    let child = match fork() {
        0 => {
            let code = match plain.remote(job).wait() {
                Ok(found) if found.token == token && found.bytes == answer => RIGHT,
                Ok(_) => WRONG,
                Err(_) => REFUSED,
            };
            exit_at_once(code);
        }
        child => child,
    };
    // The fork failed, for example because of the limit on processes.
    let Some(pid) = Pid::from_raw(child.max(0)) else {
        return world.book.resolve(token, State::Abandoned);
    };
    let until = Instant::now() + LIMIT;
    loop {
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => {
                let code = status.exit_status();
                match code {
                    Some(RIGHT) => return world.book.resolve(token, State::Succeeded),
                    Some(REFUSED) => {}
                    _ => {
                        let text = format!("{token}: {status:?}");
                        world
                            .book
                            .violation("a forked child has no right answer", text);
                    }
                }
                return world.book.resolve(token, State::Abandoned);
            }
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let text = format!("{token}, process {child}");
                world
                    .book
                    .violation("the call of a forked child hangs", text);
                let _ = kill_process(pid, Signal::KILL);
                wait_for(child);
                return world.book.resolve(token, State::Abandoned);
            }
        }
    }
}
