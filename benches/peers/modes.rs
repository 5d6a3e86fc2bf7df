//! What this program is when it starts itself, other than a worker, and where it runs.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::functions::{add_one, plain_add_one};

const PONG: &str = "--as=pong";
const COLD: &str = "--as=cold";
const COLD_PROCSPAWN: &str = "--as=cold-procspawn";

/// Becomes what the first argument says. False if it says nothing of that kind.
pub(crate) fn enter() -> bool {
    match std::env::args().nth(1).as_deref() {
        Some(PONG) => pong(),
        Some(COLD) => cold(|| add_one.remote(1).wait().expect("a result")),
        Some(COLD_PROCSPAWN) => cold(|| {
            let pool = procspawn::Pool::new(1).expect("a pool");
            pool.spawn(1, plain_add_one).join().expect("a result")
        }),
        _ => return false,
    }
    true
}

fn this_program(mode: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(mode);
    command
}

// ------------------------------------------------------------------ the bare process at a socket

/// A process that sends back what it gets, with nothing but blocking reads and writes.
pub(crate) struct Bare {
    pub(crate) socket: UnixStream,
    child: Child,
}

impl Bare {
    pub(crate) fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("two sockets");
        let child = this_program(PONG)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("this program starts");
        Self { socket, child }
    }

    pub(crate) fn round_trip(&mut self, number: u64) -> u64 {
        let mut bytes = number.to_ne_bytes();
        self.socket.write_all(&bytes).expect("the peer listens");
        self.socket
            .read_exact(&mut bytes)
            .expect("the peer answers");
        u64::from_ne_bytes(bytes)
    }

    /// Sends the bytes so many times while it takes in as much.
    pub(crate) fn stream(&mut self, bytes: &[u8], times: usize) {
        let mut writing = self.socket.try_clone().expect("a descriptor");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..times {
                    writing.write_all(bytes).expect("the peer listens");
                }
            });
            let mut back = vec![0; bytes.len()];
            for _ in 0..times {
                self.socket.read_exact(&mut back).expect("the peer answers");
            }
        });
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

fn pong() {
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let mut socket = UnixStream::from(socket.expect("a descriptor"));
    let mut bytes = vec![0; 1024 * 1024];
    while let Ok(read @ 1..) = socket.read(&mut bytes) {
        if socket.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
}

// ------------------------------------------------------------------------------- fresh processes

/// Prints how long the first call of this process took.
fn cold(call: impl FnOnce() -> u64) {
    let before = Instant::now();
    assert_eq!(call(), 2);
    println!("{}", before.elapsed().as_nanos());
}

fn run_cold(mode: &str) -> Duration {
    let output = this_program(mode)
        .stderr(Stdio::inherit())
        .output()
        .expect("this program starts");
    let nanos = String::from_utf8_lossy(&output.stdout);
    Duration::from_nanos(nanos.trim().parse().expect("a number of nanoseconds"))
}

/// The first call of a fresh process, from before the call to its result.
pub(crate) fn cold_start() -> Duration {
    run_cold(COLD)
}

/// The same with a procspawn pool of one, from before the pool.
pub(crate) fn cold_start_of_procspawn() -> Duration {
    run_cold(COLD_PROCSPAWN)
}

/// From before the start of an empty program to its first byte.
pub(crate) fn start_of_empty() -> Duration {
    let before = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_empty"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the empty program starts");
    let output = child.stdout.as_mut().expect("it is a pipe");
    output.read_exact(&mut [0]).expect("one byte");
    let elapsed = before.elapsed();
    child.wait().expect("the empty program ends");
    elapsed
}

// ------------------------------------------------------------------------------------- placement

/// Puts all threads of this process, and so all that it starts from now on, on one core or on any.
pub(crate) fn use_cores(only: Option<usize>) {
    let mut cores = CpuSet::new();
    match only {
        Some(core) => cores.set(core),
        None => (0..CpuSet::MAX_CPU).for_each(|core| cores.set(core)),
    }
    for thread in std::fs::read_dir("/proc/self/task").expect("this process has threads") {
        let thread = thread
            .ok()
            .and_then(|thread| thread.file_name().to_str()?.parse().ok());
        // A thread that has ended meanwhile needs no place.
        let _ = sched_setaffinity(thread.and_then(Pid::from_raw), &cores);
    }
}
