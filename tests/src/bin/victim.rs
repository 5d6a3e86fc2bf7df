//! Programs that fail, for the tests to start.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use retry_runtime::function;

#[function]
fn starts_a_grandchild(input: u64) -> u64 {
    let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
    std::thread::sleep(Duration::from_secs(1000));
    drop(child);
    input
}

#[function]
fn echo(value: u64) -> u64 {
    value
}

#[function]
fn prints(value: u64) -> u64 {
    println!("worker");
    value
}

#[function(startup_timeout = "400ms")]
fn never_greets(value: u64) -> u64 {
    value
}

#[function(name = "twin")]
fn one_twin() {}

#[function(name = "twin")]
fn other_twin() {}

/// Closes the descriptor of the protocol, or writes garbage into it.
#[function]
fn breaks_the_protocol(how: String) -> String {
    for entry in std::fs::read_dir("/proc/self/fd").expect("/proc") {
        let entry = entry.expect("an entry");
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("socket:") {
            let mut socket = std::fs::OpenOptions::new();
            let _ = socket.write(true);
            let pid = rustix::process::getpid();
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
            let number: i32 = entry
                .file_name()
                .to_string_lossy()
                .parse()
                .expect("a number");
            let copy = rustix::process::pidfd_getfd(
                pidfd.expect("a pidfd"),
                number,
                rustix::process::PidfdGetfdFlags::empty(),
            )
            .expect("a copy of the socket");
            if how == "garbage" {
                rustix::io::write(&copy, &[0xff; 64]).expect("the socket takes it");
            } else {
                // A wrong length in an otherwise valid header.
                let mut header = [0u8; 24];
                header[..4].copy_from_slice(&u32::MAX.to_le_bytes());
                header[4] = 4;
                rustix::io::write(&copy, &header).expect("the socket takes it");
            }
        }
    }
    std::thread::sleep(Duration::from_secs(1000));
    how
}

fn main() {
    let mode = std::env::args().nth(1);
    match (mode.as_deref(), std::env::var("VICTIM").as_deref()) {
        (Some("uninitialised"), _) => {
            let error = echo.remote(1).wait().expect_err("it must be refused");
            println!("{error}");
            return;
        }
        (None, Ok("mute")) => {
            eprintln!("mute: stuck before init");
            std::thread::sleep(Duration::from_secs(1000));
        }
        _ => {}
    }
    retry_runtime::init();
    match mode.as_deref() {
        Some("orphans") => {
            let results = starts_a_grandchild.map(0..100);
            println!("started");
            std::io::stdout().flush().expect("stdout");
            for result in results {
                println!("{result:?}");
            }
        }
        Some("mute") => println!("{:?}", never_greets.remote(1).wait()),
        Some(how @ ("garbage" | "lie")) => {
            println!("{:?}", breaks_the_protocol.remote(how.to_owned()).wait());
            println!("{:?}", echo.remote(5).wait());
        }
        Some("silent") => {
            // A program in which nothing fails prints nothing but its own output.
            let sum: u64 = echo
                .map(0..100)
                .into_iter()
                .map(|r| r.expect("a value"))
                .sum();
            println!("{sum}");
        }
        Some("twins") => {
            println!(
                "{}",
                one_twin.remote().wait().expect_err("it must be refused")
            );
            println!(
                "{}",
                other_twin.remote().wait().expect_err("it must be refused")
            );
            println!("{:?}", echo.remote(5).wait());
        }
        Some("locked") => {
            let mut out = std::io::stdout().lock();
            let sum: u64 = prints
                .map(0..10)
                .into_iter()
                .map(|r| r.expect("a value"))
                .sum();
            writeln!(out, "{sum}").expect("stdout");
        }
        Some("deleted") => {
            println!("{:?}", echo.remote(1).wait());
            let this = std::env::current_exe().expect("this program");
            std::fs::remove_file(this).expect("it can be removed");
            println!("{:?}", never_greets.remote(2).wait());
        }
        other => panic!("unknown mode {other:?}"),
    }
}
