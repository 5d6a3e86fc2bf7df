//! Programs that fork, for the tests. The first argument selects one.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use retry_runtime::{function, local_entrypoint};
use retry_tests::{Forked, close_descriptor, descriptors, fork, fork_with};

#[function(max_workers = 1)]
fn echo(value: u64) -> u64 {
    value
}

#[function(max_workers = 1)]
fn worker_pid() -> u32 {
    std::process::id()
}

fn note(file: &PathBuf, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(file)
        .expect("a file");
    writeln!(file, "{text}").expect("it can be written");
}

/// Notes that it runs, and then runs for a moment.
#[function(max_workers = 1)]
fn runs(file: PathBuf, first: bool) {
    note(&file, if first { "running" } else { "second" });
    std::thread::sleep(Duration::from_secs(1));
    note(&file, "ended");
}

#[function(max_workers = 1)]
fn closes_its_output(now: bool) {
    if !now {
        return;
    }
    rustix::stdio::dup2_stdout(std::fs::File::open("/dev/null").expect("a file")).expect("a file");
    rustix::stdio::dup2_stderr(std::fs::File::open("/dev/null").expect("a file")).expect("a file");
}

/// Waits until it is killed.
fn stay() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Returns the CPU time of this process, in clock ticks.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
    let times = fields.skip(11).take(2);
    times
        .map(|time| time.parse::<u64>().expect("a number"))
        .sum()
}

/// Turns this process into a daemon in the usual way, and returns in the daemon.
fn daemonise() {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    if fork().is_some() {
        drop(writer);
        // Wait for the daemon to report that it is one.
        let _ = std::io::Read::read(&mut reader, &mut [0]);
        std::process::exit(0);
    }
    rustix::process::setsid().expect("a session");
    if fork().is_some() {
        std::process::exit(0);
    }
    println!("{}", std::process::id());
    writer.write_all(b"x").expect("a pipe");
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .expect("/dev/null");
    rustix::stdio::dup2_stdin(&null).expect("a stream");
    rustix::stdio::dup2_stdout(&null).expect("a stream");
    // Close all descriptors that the parent left open.
    for descriptor in descriptors() {
        let number = descriptor.split(' ').next().expect("a number");
        let number = number.parse().expect("a number");
        if number > 2 {
            close_descriptor(number);
        }
    }
    // The loop above has closed these descriptors.
    std::mem::forget((reader, writer, null));
}

#[local_entrypoint]
fn main(what: String, when: Option<String>, file: Option<PathBuf>) {
    match what.as_str() {
        "daemon" => {
            if when.as_deref() == Some("after") {
                echo.remote(1).wait().expect("a value");
            }
            daemonise();
            echo.remote(1).wait().expect("a value");
            let file = file.expect("a file");
            let calls = [true, false].map(|first| runs.spawn(file.clone(), first));
            for call in calls {
                let _ = call.wait();
            }
            stay();
        }
        "idle-fork" => {
            echo.remote(1).wait().expect("a value");
            let child = fork_with(|| stay());
            println!("{}", child.0);
            let pid = rustix::process::Pid::from_raw(i32::try_from(child.0).expect("a pid"));
            let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
            let (_, status) = ended.expect("a child").expect("it has ended");
            assert_eq!(echo.remote(2).wait().expect("a value"), 2);
            std::process::exit(status.terminating_signal().unwrap_or(0));
        }
        "call-in-fork" => {
            echo.remote(1).wait().expect("a value");
            let child = fork_with(|| {
                for value in 0..5 {
                    echo.remote(value).wait().expect("a value");
                }
                std::process::exit(0)
            });
            assert_eq!(child.code(), Some(0));
            echo.remote(2).wait().expect("a value");
        }
        "leave-fork" => {
            println!("{}", worker_pid.remote().wait().expect("a value"));
            let child = fork_with(|| {
                // A session of its own keeps the child apart from the processes that end with the parent.
                rustix::process::setsid().expect("a session");
                stay()
            });
            println!("{}", child.0);
            stay();
        }
        "closed-pipes" => {
            echo.remote(1).wait().expect("a value");
            closes_its_output.remote(false).wait().expect("it waits");
            let child = fork_with(|| stay());
            closes_its_output
                .remote(true)
                .wait()
                .expect("it closes them");
            let before = ticks();
            std::thread::sleep(Duration::from_secs(1));
            println!("{}", ticks() - before);
            let raw = rustix::process::Pid::from_raw(i32::try_from(child.0).expect("a pid"));
            let _ =
                rustix::process::kill_process(raw.expect("a pid"), rustix::process::Signal::KILL);
            let _ = Forked(child.0).code();
        }
        other => panic!("{other}"),
    }
}
