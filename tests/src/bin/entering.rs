//! Programs that parse their own arguments and call `run`. The first argument selects the action.

use std::process::ExitCode;
use std::time::Duration;

use retry_runtime::runtime::{OutputMode, ProgressMode, Transport};
use retry_runtime::{Program, Runtime, function};

#[function]
fn double(number: u64) -> u64 {
    number * 2
}

#[function]
fn refuses(number: u64) -> Result<u64, String> {
    Err(format!("not {number}"))
}

#[function]
async fn double_async(number: u64) -> u64 {
    number * 2
}

/// Prints before and after a nap.
#[function]
fn naps(milliseconds: u64) {
    println!("napping");
    std::thread::sleep(Duration::from_millis(milliseconds));
    println!("napped");
}

/// Calls `run` in the worker.
#[function]
fn runs(number: u64) -> u64 {
    retry_runtime::run(|| number + 1)
}

#[function]
fn variable(name: &str) -> Option<String> {
    println!("a line");
    std::env::var(name).ok()
}

/// Works like the `main` of a program with a parser of its own.
fn work(action: &str) -> Result<(), String> {
    match action {
        "fails" => println!("{:?}", refuses.remote(1).wait().is_err()),
        "succeed" => println!("{:?}", double.map([1, 2, 3]).try_collect::<Vec<_>>().wait()),
        "unwrap" => {
            // The message of the panic has several lines.
            let all = refuses.map(0..50).into_iter();
            all.for_each(|result| assert!(result.is_err()));
            println!("{:?}", refuses.remote(1).wait().unwrap());
        }
        "fail" => return Err("no luck".to_owned()),
        "panic" => {
            // The task's first line is proof that it runs.
            drop(naps.spawn(2000));
            panic!("no luck");
        }
        "spawn" => drop(naps.spawn(500)),
        "interrupted" => println!("{:?}", naps.remote(60_000).wait().is_err()),
        "nested" => {
            let inner = retry_runtime::run(|| double.remote(1).wait());
            let thread = std::thread::spawn(|| retry_runtime::run(|| double.remote(2).wait()));
            println!("{inner:?} {:?}", thread.join().expect("no panic"));
            println!("{:?}", double.remote(3).wait());
        }
        "late settings" => Program::new()
            .progress(ProgressMode::None)
            .run(|| println!("not reached")),
        "worker" => println!("{:?}", runs.remote(5).wait()),
        other => return Err(format!("unknown action {other:?}")),
    }
    Ok(())
}

async fn work_async() -> u64 {
    let nested = tokio::spawn(async { double_async.remote(20).await });
    let doubled = nested.await.expect("no panic").expect("a result");
    drop(naps.spawn(100));
    doubled
}

fn main() -> ExitCode {
    let action = std::env::args().nth(1).unwrap_or_default();
    if action == "no init" {
        retry_runtime::run(|| println!("not reached"));
    }
    retry_runtime::init();
    match action.as_str() {
        "async" => println!("{}", retry_runtime::run_async(work_async())),
        "async in tokio" => {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async { retry_runtime::run_async(work_async()) });
        }
        "twice" => {
            println!("{:?}", retry_runtime::run(|| double.remote(1).wait()));
            retry_runtime::run(|| println!("not reached"));
        }
        "settings" => {
            let runtime = Runtime::builder()
                .env("GREETING", "hello")
                .max_workers(1)
                .spin(false)
                .transport(Transport::Socket)
                .output(OutputMode::Raw)
                .seed(7);
            Program::new()
                .progress(ProgressMode::None)
                .shutdown_grace(Duration::ZERO)
                .runtime(runtime)
                .run(|| {
                    for name in ["GREETING", "RETRY_SPIN"] {
                        println!("{:?}", variable.remote(name).wait());
                    }
                    drop(naps.spawn(60_000));
                });
        }
        "late runtime" => {
            println!("{:?}", double.remote(1).wait());
            Program::new()
                .runtime(Runtime::builder().max_workers(1))
                .run(|| println!("not reached"));
        }
        action => {
            if let Err(error) = retry_runtime::run(|| work(action)) {
                eprintln!("{error}");
                return ExitCode::from(3);
            }
            if action == "fails" {
                println!("run has returned");
            }
        }
    }
    ExitCode::SUCCESS
}
