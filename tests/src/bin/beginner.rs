//! A program for the tests of how a program and its workers start. The first argument selects the action.
//! Each process that returns from `init` adds a line to the file named by `MAINS`.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use retry_runtime::{CallError, Runtime, function};
use rustix::io::FdFlags;
use rustix::process::{Resource, getpriority_process, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Opened before `init`, as statics and libraries do.
static EARLY: OnceLock<File> = OnceLock::new();

#[function(max_workers = 1)]
fn echo(value: u64) -> u64 {
    value
}

#[function(max_workers = 1, at_most_once)]
fn aborts() {
    std::process::abort();
}

#[function(max_workers = 1)]
fn enters_again(value: u64) -> u64 {
    retry_runtime::init();
    value
}

/// Returns the output of a program that the function starts.
#[function(max_workers = 1)]
fn runs(script: String) -> String {
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = output.expect("sh");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Returns the targets of the worker's descriptors, without its standard streams.
#[function(max_workers = 1)]
fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter_map(|path| std::fs::read_link(path).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// Returns the CPUs, the nice value and the blocked signals of the worker.
#[function(max_workers = 1)]
fn attributes() -> (usize, i32, String) {
    let affinity = sched_getaffinity(None).expect("an affinity");
    let nice = getpriority_process(None).expect("a nice value");
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let blocked = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"));
    (
        affinity.count() as usize,
        nice,
        blocked.expect("a mask").to_owned(),
    )
}

/// Returns the worker's process ID after a delay, in which other workers start.
#[function]
fn own_pid() -> u32 {
    std::thread::sleep(Duration::from_millis(300));
    std::process::id()
}

/// Returns the results of reading from the terminal and of changing its settings.
#[function(max_workers = 1)]
fn terminal() -> String {
    let read = std::fs::read_to_string("/dev/tty").map_err(|error| error.raw_os_error());
    let script = "stty sane < /dev/tty 2>&1";
    let settings = Command::new("sh").args(["-c", script]).status();
    format!("{read:?} {}", settings.expect("sh").success())
}

fn show<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, CallError<E>>) {
    match result {
        Ok(value) => println!("{value:?}"),
        Err(error) => println!("{error}"),
    }
}

/// Duplicates a descriptor to one that programs inherit.
fn inheritable(file: impl AsFd) -> std::os::fd::OwnedFd {
    rustix::io::dup(file).expect("a descriptor")
}

/// Runs a closure while a limit of this process is low.
fn under<R>(limit: Resource, current: u64, work: impl FnOnce() -> R) -> R {
    let before = getrlimit(limit);
    let mut low = before;
    low.current = Some(current);
    setrlimit(limit, low).expect("a lower limit");
    let result = work();
    setrlimit(limit, before).expect("the limit from before");
    result
}

fn main() {
    if let Some(path) = std::env::var_os("EARLY") {
        let _ = EARLY.set(File::open(path).expect("a file"));
    }
    retry_runtime::init();
    if let Some(mains) = std::env::var_os("MAINS") {
        let file = File::options().append(true).create(true).open(mains);
        writeln!(file.expect("a file"), "main").expect("a line");
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map_or("echo", String::as_str) {
        "echo" => {
            show(echo.remote(5).wait());
            show(aborts.remote().wait());
            show(echo.remote(6).wait());
        }
        "twice" => show(enters_again.remote(5).wait()),
        "wrapped" => {
            // Several at once, as in a program that starts many workers.
            let program = std::env::var_os("WRAPPER").expect("a program");
            let runtime = Runtime::builder().worker_program(program).max_workers(4);
            let runtime = runtime.startup_timeout(Duration::from_secs(20)).build();
            let runtime = runtime.expect("a runtime");
            for result in own_pid.on(&runtime).map([(); 4]) {
                match result {
                    Ok(_) => println!("served"),
                    Err(error) => println!("{error}"),
                }
            }
        }
        "runs" => show(runs.remote(arguments[1].clone()).wait()),
        "descriptors" => {
            let file = File::open(&arguments[1]).expect("a file");
            let _many: Vec<_> = (0..500).map(|_| inheritable(&file)).collect();
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            rustix::io::fcntl_setfd(&listener, FdFlags::empty()).expect("a flag");
            let address = listener.local_addr().expect("an address");
            show(descriptors.remote().wait());
            // The next worker may be the standby process, which was started earlier.
            show(aborts.remote().wait());
            show(descriptors.remote().wait());
            drop(listener);
            println!("{:?}", TcpStream::connect(address).map_err(|e| e.kind()));
        }
        "attributes" => {
            let all = sched_getaffinity(None).expect("an affinity");
            let nice = getpriority_process(None).expect("a nice value");
            let pids = std::thread::spawn(move || {
                let first = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu));
                let mut one = CpuSet::new();
                one.set(first.expect("a CPU"));
                sched_setaffinity(None, &one).expect("one of its own CPUs");
                setpriority_process(None, nice + 3).expect("a higher nice value");
                show(attributes.remote().wait());
                let mut pids: Vec<u32> = own_pid.map([(); 64]).into_iter().flatten().collect();
                pids.sort_unstable();
                pids.dedup();
                pids.len()
            });
            println!("{} {nice}", all.count());
            println!("{}", pids.join().expect("no panic"));
        }
        "scarce" => {
            let call = || echo.remote(1).wait();
            // First, there is no memory for the stack of a thread.
            let sizes = std::fs::read_to_string("/proc/self/statm").expect("/proc");
            let pages = sizes.split(' ').next().and_then(|pages| pages.parse().ok());
            let size = pages.unwrap_or(0) * rustix::param::page_size() as u64;
            let open = || std::fs::read_dir("/proc/self/fd").expect("/proc").count() as u64;
            let before = open();
            for _ in 0..20 {
                show(under(Resource::As, size + (1 << 20), call));
            }
            eprintln!("{} descriptors are left behind", open() - before);
            for limit in [0, before, before + 1, before + 2] {
                show(under(Resource::Nofile, limit, call));
            }
            show(call());
        }
        "terminal" => {
            show(terminal.remote().wait());
            println!("end");
        }
        other => panic!("unknown mode {other:?}"),
    }
}
