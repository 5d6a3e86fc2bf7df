//! Programs in which many things happen at once or in unusual places, for the tests of faults. The first
//! argument selects one.

use std::io::Write;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use retry_runtime::{CallError, EventKind, Runtime, function};

#[function]
fn echo(value: u64) -> u64 {
    value
}

/// Writes this many mebibytes, in lines of this length or without any line ending.
#[function(max_workers = 1)]
fn floods(mebibytes: usize, line: Option<usize>) -> usize {
    let mut chunk = vec![b'x'; 1 << 20];
    if let Some(line) = line {
        chunk
            .iter_mut()
            .skip(line - 1)
            .step_by(line)
            .for_each(|byte| *byte = b'\n');
    }
    let mut out = std::io::stdout().lock();
    for _ in 0..mebibytes {
        out.write_all(&chunk).expect("stdout");
    }
    mebibytes
}

#[function(max_workers = 1)]
fn prints(bytes: Vec<u8>) {
    std::io::stdout().write_all(&bytes).expect("stdout");
}

/// Prints lines of one letter each, many at once.
#[function(max_workers = 16)]
fn prints_letters(letter: u8, length: usize, lines: usize) {
    let mut line = vec![letter; length];
    line.push(b'\n');
    for _ in 0..lines {
        std::io::stdout().write_all(&line).expect("stdout");
    }
}

/// Prints numbered lines, every tenth of them longer than a pipe takes at once.
#[function(max_workers = 2)]
fn prints_numbered(letter: char, lines: usize) {
    for line in 0..lines {
        let length = if line % 10 == 0 { 9000 } else { 70 };
        println!("{letter} {line} {}", letter.to_string().repeat(length));
    }
}

#[function(max_workers = 2)]
fn sleeps(milliseconds: u64) -> u64 {
    println!("sleeping");
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Returns the directory, the umask and a variable of the worker.
#[function(max_workers = 1, single_use_workers)]
fn surroundings() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:\t"));
    let directory = std::env::current_dir().expect("a directory");
    format!("{} {}", umask.expect("a umask"), directory.display())
}

#[function(at_most_once)]
fn aborts() {
    std::process::abort();
}

/// Returns the exit code of a program that the function starts.
#[function]
fn starts() -> Result<Option<i32>, String> {
    let status = Command::new("sh").args(["-c", "exit 3"]).status();
    status
        .map(|status| status.code())
        .map_err(|error| error.to_string())
}

#[expect(unsafe_code, reason = "nothing safe sets it")]
fn ignore_children() {
    // SAFETY: this is the C library's `signal`.
    unsafe extern "C" {
        fn signal(number: std::ffi::c_int, action: usize) -> usize;
    }
    const IGNORE: usize = 1;
    // SAFETY: no handler is installed that would have to be sound.
    unsafe {
        signal(rustix::process::Signal::CHILD.as_raw(), IGNORE);
    }
}

/// Leaves a process behind whose parent has exited.
#[function]
fn leaves_an_orphan() {
    let script = "sleep 0.1 & exit 0";
    let status = Command::new("sh")
        .args(["-c", script])
        .status()
        .expect("sh");
    assert!(status.success());
}

/// Returns one line of `/proc/self/status`.
fn status(key: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.expect("the key").trim().to_owned()
}

fn show<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, CallError<E>>) {
    match result {
        Ok(value) => println!("{value:?}"),
        Err(error) => println!("{error}"),
    }
}

/// Starts two calls that are still running when this returns.
fn run_two() {
    let mut events = retry_runtime::events();
    drop([sleeps.spawn(600_000), sleeps.spawn(600_000)]);
    let mut running = 0;
    while running < 2 {
        match events.next() {
            Some(event) => running += u32::from(matches!(event.kind, EventKind::Output { .. })),
            None => return,
        }
    }
}

/// Returns the process ID of its worker, which serves no other function.
#[function(max_workers = 1, single_use_workers)]
fn own_pid() -> u32 {
    std::process::id()
}

/// Waits until the only child is not `other`: once every worker has exited, the only child is the standby
/// process.
fn only_child_but(other: u32) -> u32 {
    loop {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
        let children: String = tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .collect();
        let mut children = children.split_whitespace().map(str::parse);
        if let (Some(Ok(child)), None) = (children.next(), children.next())
            && child != other
        {
            return child;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Acts like a static that runs code before `main`.
fn before_init() {
    if std::env::var_os("BEFORE_INIT").is_some() && std::env::var_os("RETRY_WORKER").is_some() {
        eprintln!("begins");
        drop(Command::new("sleep").arg("1000").spawn().expect("sleep"));
    }
}

fn main() {
    before_init();
    retry_runtime::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| -> Option<usize> { arguments.get(index)?.parse().ok() };
    match arguments[0].as_str() {
        "flood" => {
            echo.remote(1).wait().expect("a value");
            let before = status("VmHWM:");
            let written = floods.remote(number(1).expect("a size"), number(2)).wait();
            eprintln!("{:?} MiB, {before}, {}", written.ok(), status("VmHWM:"));
        }
        "bytes" => {
            let bytes = std::fs::read(&arguments[1]).expect("a file");
            prints.remote(bytes).wait().expect("it prints");
            retry_runtime::shutdown(Duration::from_secs(5)).wait();
        }
        "halves" => {
            // The program's own output after a call follows the output of that call.
            for round in 0..100 {
                prints.remote(b"half".to_vec()).wait().expect("it prints");
                println!("{round}");
            }
            prints.remote(b"last".to_vec()).wait().expect("it prints");
        }
        "letters" => {
            let length = number(1).expect("a length");
            let inputs = (0..16).map(|letter| (b'a' + letter, length, 20));
            for result in prints_letters.map(inputs) {
                result.expect("it prints");
            }
        }
        "full" => {
            // Both print to a stream that no process reads.
            let lines = number(1).expect("a number of lines");
            let printing = ['a', 'b'].map(|letter| prints_numbered.spawn(letter, lines));
            for call in printing {
                call.wait().expect("it prints");
            }
            eprintln!("printed");
            eprintln!("{:?}", echo.remote(5).wait().ok());
            let limit = Duration::from_millis(100);
            let late = sleeps.remote(600_000).timeout(limit).wait();
            eprintln!("{}", late.expect_err("it is stopped"));
            // Exit when told to, or at once.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        "overfull" => {
            echo.remote(1).wait().expect("a value");
            let before = status("VmHWM:");
            let flood = floods.spawn(number(1).expect("a size"), Some(4096));
            let sum: u64 = (0..100)
                .map(|value| sleeps.remote(value % 10).wait().expect("a value"))
                .sum();
            eprintln!("{sum}");
            let written = flood.wait();
            eprintln!("{:?} MiB, {before}, {}", written.ok(), status("VmHWM:"));
        }
        "echo" => {
            show(echo.remote(5).wait());
            show(aborts.remote().wait());
            show(echo.remote(6).wait());
        }
        "streams" => {
            // The streams are closed, so nothing may be written to them.
            let sum: u64 = echo.map(0..100).into_iter().flatten().sum();
            prints.remote(b"lost\n".to_vec()).wait().expect("it prints");
            std::fs::write(&arguments[1], sum.to_string()).expect("a file");
        }
        "exit" => {
            run_two();
            std::process::exit(3);
        }
        "abort" => {
            run_two();
            std::process::abort();
        }
        "return" => run_two(),
        "race" => {
            let barrier = Barrier::new(64);
            let sum: u64 = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..64)
                    .map(|value| {
                        let barrier = &barrier;
                        scope.spawn(move || {
                            barrier.wait();
                            echo.remote(value).wait().expect("a value")
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("a value"))
                    .sum()
            });
            let tasks = std::fs::read_dir("/proc/self/task")
                .expect("/proc")
                .flatten();
            let names =
                tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
            let engines = names.filter(|name| name.trim() == "retry-io").count();
            println!("{sum} by {engines}");
        }
        "childless" => {
            // From now on the exit status of a child is unknown.
            ignore_children();
            show(echo.remote(5).wait());
        }
        "commands" => {
            // A function can wait for its own children.
            show(starts.remote().wait());
        }
        "signals" => {
            let kinds = ["SigCgt:", "SigIgn:", "SigBlk:"];
            let before = kinds.map(status);
            show(echo.remote(5).wait());
            show(aborts.remote().wait());
            retry_runtime::shutdown(Duration::from_secs(5)).wait();
            for (before, after) in before.into_iter().zip(kinds.map(status)) {
                println!("{before} {after}");
            }
        }
        "surroundings" => {
            show(surroundings.remote().wait());
            std::env::set_current_dir("/").expect("the root");
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o77));
            show(surroundings.remote().wait());
        }
        "first" => {
            // Process 1 of its own PID namespace.
            println!("process {}", std::process::id());
            show(echo.remote(5).wait());
            show(aborts.remote().wait());
            show(leaves_an_orphan.remote().wait());
            let runtime = Runtime::builder().build().expect("a runtime");
            show(echo.on(&runtime).remote(6).wait());
            runtime.shutdown(Duration::from_secs(5)).wait();
            std::thread::sleep(Duration::from_millis(300));
            let children = std::fs::read_to_string("/proc/self/task/1/children");
            let children = children.expect("/proc");
            let children = children.split_whitespace().map(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                stat.unwrap_or_default().contains("(sleep) Z")
            });
            println!("orphans {}", children.filter(|orphan| *orphan).count());
        }
        "replaced" => {
            let first = own_pid.remote().wait().expect("a number");
            let standby = only_child_but(first);
            let second = own_pid.remote().wait().expect("a number");
            println!("{}", standby == second);
            only_child_but(second);
            println!("waiting");
            std::thread::sleep(Duration::from_secs(1000));
        }
        "dying" => {
            own_pid.remote().wait().expect("a number");
            println!("waiting");
            std::thread::sleep(Duration::from_secs(1000));
        }
        other => panic!("unknown mode {other:?}"),
    }
}
