//! A program whose calls fail, and which prints the report or the line of each failure.

use std::fmt::{Debug, Display};
use std::panic::catch_unwind;
use std::time::Duration;

use anyhow::Context;
use retry_runtime::{Retries, function, init};

#[function]
fn panics(how: String) -> u64 {
    match how.as_str() {
        "literal" => panic!("a literal text"),
        "lines" => panic!("the first line\nthe second line\n\nthe last line"),
        "long" => panic!("begins {} ends", "and goes on ".repeat(200)),
        "unwrap" => how.parse().unwrap(),
        "assertion" => {
            assert_eq!(how.len(), 3, "lengths differ");
            0
        }
        "caught" => {
            let _ = catch_unwind(|| panic!("caught and forgotten"));
            5
        }
        "caught before another" => {
            let _ = catch_unwind(|| panic!("the caught one"));
            panic!("the one that counts")
        }
        "caught, then abort" => {
            let _ = catch_unwind(|| panic!("the reason of the abort"));
            std::process::abort()
        }
        "another thread" => {
            let _ = std::thread::spawn(|| panic!("on another thread")).join();
            5
        }
        other => panic!("{other:?} is not a way"),
    }
}

#[function(retries = Retries::fixed(3, Duration::ZERO))]
fn panics_again() -> u64 {
    panic!("every time")
}

#[function(concurrency = 2)]
async fn panics_later() -> u64 {
    tokio::task::yield_now().await;
    panic!("after the await")
}

fn panicking() -> u64 {
    panic!("in the set-up")
}

#[function(setup = panicking)]
fn unready(state: &u64) -> u64 {
    *state
}

#[function]
fn nested(levels: u32) -> u32 {
    match levels {
        0 => 0,
        _ => 1 + nested.remote(levels - 1).wait().unwrap(),
    }
}

#[function]
fn passes_on(levels: u32) -> anyhow::Result<u32> {
    match levels {
        0 => std::fs::read_to_string("/nowhere/to/be/found")
            .map(|_| 0)
            .context("the file cannot be read"),
        _ => Ok(passes_on.remote(levels - 1).wait()?),
    }
}

#[function(retries = Retries::fixed(2, Duration::ZERO))]
fn fails() -> Result<u32, String> {
    Err(format!("several\nlines {}", "of text ".repeat(100)))
}

fn show<T: Debug, E: Debug + Display>(result: Result<T, E>) {
    let line = std::env::args().any(|argument| argument == "--line");
    match result {
        Ok(value) => println!("got {value:?}"),
        Err(error) if line => println!("{error}"),
        Err(error) => println!("{error:?}"),
    }
}

fn main() {
    init();
    let how = std::env::args().nth(1).unwrap_or_default();
    match how.as_str() {
        "again" => show(panics_again.remote().wait()),
        "later" => show(panics_later.remote().wait()),
        "unready" => show(unready.remote().wait()),
        "nested" => show(nested.remote(20).wait()),
        "passed on" => show(passes_on.remote(3).wait()),
        "chain" => show(passes_on.remote(0).wait().map_err(anyhow::Error::from)),
        "fails" => show(fails.remote().wait()),
        _ => show(panics.remote(how).wait()),
    }
}
