//! The roles of this program, other than a worker, when it starts itself, and its placement on cores.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{bare, ipc, tarpc_peer};

/// Runs the role that the first argument names. Returns false if the argument names no role.
pub(crate) fn enter() -> bool {
    match std::env::args().nth(1).as_deref() {
        Some(bare::ROLE) => bare::serve(standard_input()),
        Some(tarpc_peer::ROLE) => tarpc_peer::serve(standard_input()),
        Some(ipc::ROLE) => ipc::serve(),
        _ => return false,
    }
    true
}

fn standard_input() -> UnixStream {
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    UnixStream::from(socket.expect("a descriptor"))
}

/// Returns the command that starts this program in a role.
pub(crate) fn this_program(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(role);
    command
}

/// Starts this program in a role. Returns a socket whose other end is the standard input of that process.
pub(crate) fn start(role: &str, argument: &str) -> (UnixStream, Ended) {
    let (socket, theirs) = UnixStream::pair().expect("two sockets");
    let child = this_program(role)
        .arg(argument)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .expect("this program starts");
    (socket, Ended(child))
}

/// A process that exits when its standard input is closed. Dropping this value closes it and waits.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Do not kill the process at once: it could leave processes of its own behind.
        drop(self.0.stdin.take());
        let begun = Instant::now();
        while let Ok(None) = self.0.try_wait() {
            if begun.elapsed() > Duration::from_secs(5) {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A program that performs a request per line and reports each measurement.
pub(crate) struct Asked {
    input: Box<dyn Write>,
    output: BufReader<Box<dyn Read>>,
    _process: Ended,
}

impl Asked {
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            input: Box::new(input.expect("it is a pipe")),
            output: BufReader::new(Box::new(output.expect("it is a pipe"))),
            _process: Ended(child),
        })
    }

    /// Returns the next line that the program prints: a number of nanoseconds, converted to seconds.
    pub(crate) fn answer(&mut self) -> f64 {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let nanos: f64 = line.trim().parse().expect("a number of nanoseconds");
        nanos / 1e9
    }

    pub(crate) fn ask(&mut self, question: &str) -> f64 {
        writeln!(self.input, "{question}").expect("it listens");
        self.input.flush().expect("it listens");
        self.answer()
    }
}

/// Measures the time from the start of a program to the first byte that it writes.
pub(crate) fn first_byte(program: &Path) -> f64 {
    let before = Instant::now();
    let child = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Ended(child.expect("the program starts"));
    let output = child.0.stdout.as_mut().expect("it is a pipe");
    output.read_exact(&mut [0]).expect("one byte");
    before.elapsed().as_secs_f64()
}

/// Moves all threads of this process, and thereby all processes that it starts later, to one core, or to all.
pub(crate) fn use_cores(only: Option<usize>) {
    let cores = set_of(only);
    for thread in std::fs::read_dir("/proc/self/task").expect("this process has threads") {
        let thread = thread
            .ok()
            .and_then(|thread| thread.file_name().to_str()?.parse().ok());
        // A thread that has ended meanwhile needs no core.
        let _ = sched_setaffinity(thread.and_then(Pid::from_raw), &cores);
    }
}

/// Like `use_cores`, for this thread alone.
pub(crate) fn use_core_here(only: Option<usize>) {
    sched_setaffinity(None, &set_of(only)).expect("a core of this machine");
}

fn set_of(only: Option<usize>) -> CpuSet {
    let mut cores = CpuSet::new();
    match only {
        Some(core) => cores.set(core),
        None => (0..CpuSet::MAX_CPU).for_each(|core| cores.set(core)),
    }
    cores
}

/// Returns the processes that this one has started.
pub(crate) fn children() -> Vec<u32> {
    // A process is among the children of the thread that has started it.
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let parsed = |list: String| -> Vec<u32> {
        let pids = list.split_whitespace();
        pids.filter_map(|pid| pid.parse().ok()).collect()
    };
    lists.flat_map(parsed).collect()
}
