//! A program whose attempts take too long, and whose workers do not become ready. `STARTS` is a file that gets a
//! line for each set-up.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use retry_runtime::{Retries, current, function, local_entrypoint};

/// Sleeps for longer than any test lasts.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn is_first_attempt() -> bool {
    current().is_none_or(|call| call.attempt() == 1)
}

#[function(timeout = "5s", grace = "2s", retries = Retries::fixed(1, Duration::ZERO), max_workers = 2)]
fn hangs(input: u64) -> u64 {
    if input % 2 == 1 && is_first_attempt() {
        std::thread::sleep(FOR_EVER);
    }
    input
}

#[function(timeout = "5s", concurrency = 4, max_workers = 1)]
async fn hangs_beside_others(input: u64) -> u64 {
    if input == 2 {
        tokio::time::sleep(FOR_EVER).await;
    }
    input
}

/// Counts this set-up, and returns how many there have been.
fn count_start() -> usize {
    let path = std::env::var_os("STARTS").expect("a file");
    let mut file = File::options().append(true).create(true).open(&path);
    let file = file.as_mut().expect("the file opens");
    writeln!(file, "{}", std::process::id()).expect("there is room");
    fs::read_to_string(path)
        .expect("it is there")
        .lines()
        .count()
}

fn load() -> Result<usize, String> {
    match count_start() {
        2 | 3 => Err("no such file: m.onnx".to_owned()),
        start => Ok(start),
    }
}

#[function(setup = load, max_workers = 1)]
fn embeds(_start: &usize, input: u64) -> u64 {
    if input == 1 && is_first_attempt() {
        std::process::abort();
    }
    input
}

fn find_nothing() -> Result<usize, String> {
    count_start();
    eprintln!("looking into /nowhere");
    Err("no such file: n.onnx".to_owned())
}

#[function(setup = find_nothing, max_workers = 2)]
fn never_ready(start: &usize) -> usize {
    *start
}

#[function(retries = Retries::fixed(1, FOR_EVER), max_workers = 2)]
fn prints(page: u64) -> Result<u64, String> {
    match page {
        0..3 => return Err("not yet".to_owned()),
        3 => return Ok(page),
        _ => eprintln!("working on page {page}"),
    }
    std::thread::sleep(FOR_EVER);
    Ok(page)
}

#[function]
fn measures(text: &str) -> usize {
    text.len()
}

#[function]
fn fails_with(text: String) -> Result<u64, String> {
    Err(text)
}

#[function]
fn passes_on(text: String) -> u64 {
    fails_with.remote(text).wait().unwrap_or(1)
}

/// Makes calls in one of several ways.
#[local_entrypoint]
fn main(how: String) {
    let ended = match how.as_str() {
        "hang" => hangs.map(0..4).into_iter().filter(Result::is_ok).count(),
        "too large" => {
            let texts = (0..20).map(|length| "x".repeat(50 + 5 * length));
            measures
                .map(texts)
                .into_iter()
                .filter(Result::is_ok)
                .count()
        }
        "hang beside others" => {
            let results = hangs_beside_others.map(0..4).into_iter();
            results.filter(Result::is_ok).count()
        }
        "set-up" => embeds.map(0..3).into_iter().filter(Result::is_ok).count(),
        "never ready" => never_ready
            .map([(); 1000])
            .into_iter()
            .filter(Result::is_err)
            .count(),
        "texts" => {
            let texts = ["", "\n \nafter blank lines\nand more", "\u{202e}fdp.exe\0"];
            let texts = texts.map(str::to_owned);
            let failed = fails_with.map(texts).into_iter().filter(Result::is_err);
            failed.count() + passes_on.remote("nested".to_owned()).wait().is_ok() as usize
        }
        "print" => prints.map(0..10).into_iter().filter(Result::is_ok).count(),
        other => panic!("{other:?} is not a way"),
    };
    println!("main got {ended}");
}
