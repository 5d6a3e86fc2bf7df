//! A program whose `#[on_start]` functions add a line to the file named by `LOG` in each process, and whose
//! `main` reads its own arguments: it prints them and makes two calls.
//!
//! `FAIL` is the role of the process in which one of the functions fails, and the way: `worker error`.

use std::fs::File;
use std::io::Write;

use retry_runtime::{function, local_entrypoint};

/// Appends a line with the process ID.
fn note(what: &str) {
    if let Some(path) = std::env::var_os("LOG") {
        let file = File::options().append(true).create(true).open(path);
        writeln!(file.expect("a file"), "{} {what}", std::process::id()).expect("a line");
    }
}

mod second {
    #[retry_runtime::on_start]
    fn logging() -> Result<(), String> {
        super::note("second");
        let role = match std::env::var_os("RETRY_WORKER") {
            Some(_) => "worker",
            None => "program",
        };
        let Ok(fail) = std::env::var("FAIL") else {
            return Ok(());
        };
        match fail.strip_prefix(role) {
            Some(" error") => Err("no such directory".to_owned()),
            Some(" panic") => panic!("no such directory"),
            _ => Ok(()),
        }
    }
}

mod first {
    #[retry_runtime::on_start]
    fn panic_hook() {
        super::note("first");
        // This changes nothing: the process has passed the check.
        retry_runtime::init();
    }
}

#[retry_runtime::on_start]
fn third() {
    note("third");
}

fn load() {
    note("set-up");
}

#[function(setup = load, max_workers = 1)]
fn double(_state: &(), number: u64) -> u64 {
    number * 2
}

/// This text is no help: there are no options.
#[local_entrypoint]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    println!("{arguments:?}");
    for number in 1..3 {
        match double.remote(number).wait() {
            Ok(doubled) => println!("{doubled}"),
            Err(error) => println!("{error} {}", error.did_not_run()),
        }
    }
}
