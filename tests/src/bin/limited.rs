//! Programs that run into limits: their own, the machine's, and on how long they may be stopped.

use std::time::Duration;

use retry_runtime::{Options, Runtime, function, local_entrypoint, service};
use rustix::process::{Resource, Rlimit, Signal};

/// Set-up that must finish before the program is stopped.
fn slow_set_up() {
    std::thread::sleep(Duration::from_millis(500));
}

#[function(max_workers = 1, setup = slow_set_up, startup_timeout = "1500ms")]
fn starts_slowly(_state: &()) -> u64 {
    1
}

#[function(max_workers = 1)]
fn takes(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

/// Ends, but leaves its runtime a task that does not end.
#[function(max_workers = 1)]
async fn leaves_a_task(value: u64) -> u64 {
    let _task = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(600)));
    value
}

#[function(max_workers = 64)]
fn sleeps_and_returns(value: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(2));
    value
}

/// A service that may have many configurations.
pub struct Adder(u64);

#[service(max_workers = 1)]
impl Adder {
    /// Creates an adder of this number.
    #[setup]
    pub fn new(by: u64) -> Self {
        Self(by)
    }

    /// Returns the sum.
    #[method]
    pub fn add(&self, to: u64) -> u64 {
        self.0 + to
    }
}

fn open_files(most: u64) {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::setrlimit(Resource::Nofile, limit).expect("a lower limit");
}

/// Stops this process, but not its workers, until it is continued from outside.
fn stop() {
    println!("stopped");
    rustix::process::kill_process(rustix::process::getpid(), Signal::STOP).expect("a signal");
}

#[local_entrypoint]
fn main(what: String) {
    match what.as_str() {
        "stopped-start" => {
            let mut call = starts_slowly.spawn();
            stop();
            println!("{:?}", call.get(Duration::from_secs(60)).expect("a result"));
        }
        "stopped-deadline" => {
            takes.remote(1).wait().expect("a worker");
            let call = takes.with_options(Options::new().deadline(Duration::from_secs(1)));
            let call = call.spawn(300);
            stop();
            println!("{:?}", call.wait());
        }
        "stopped-timeout" => {
            takes.remote(1).wait().expect("a worker");
            let call = takes.with_options(Options::new().timeout(Duration::from_secs(1)));
            let call = call.spawn(300);
            stop();
            println!("{:?}", call.wait());
        }
        "stopped-get" => {
            takes.remote(1).wait().expect("a worker");
            let mut call = takes.spawn(300);
            stop();
            println!("{:?}", call.get(Duration::from_millis(1)));
        }
        "leaves-a-task" => println!("{:?}", leaves_a_task.remote(3).wait()),
        "few-descriptors" => {
            open_files(60);
            let ok = sleeps_and_returns.map(0..2000).into_iter();
            println!("{} ok", ok.filter(Result::is_ok).count());
        }
        "many-services" => {
            open_files(200);
            let mut handles = Vec::new();
            for by in 0..150 {
                handles.push(std::thread::spawn(move || {
                    let adder = Adder::with(by);
                    (0..3).all(|to| match adder.add.remote(to).wait() {
                        Ok(sum) => sum == by + to,
                        Err(error) => {
                            eprintln!("{error}");
                            false
                        }
                    })
                }));
            }
            let ok = handles.into_iter().filter_map(|handle| handle.join().ok());
            println!("{} ok", ok.filter(|ok| *ok).count());
        }
        "few-processes" => {
            let runtime = Runtime::builder()
                .max_processes(3)
                .build()
                .expect("a runtime");
            let mut handles = Vec::new();
            for by in 0..20 {
                let runtime = runtime.clone();
                handles.push(std::thread::spawn(move || {
                    let adder = Adder::with(by).on(&runtime);
                    (0..3).all(|to| adder.add.remote(to).wait().is_ok_and(|sum| sum == by + to))
                }));
            }
            let ok = handles.into_iter().filter_map(|handle| handle.join().ok());
            println!("{} ok", ok.filter(|ok| *ok).count());
        }
        other => panic!("unknown: {other}"),
    }
}
