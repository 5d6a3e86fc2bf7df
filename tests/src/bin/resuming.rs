//! A program whose maps have checkpoints, to be killed and started again.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use retry_runtime::{CallError, function, local_entrypoint};

/// Appends the number of this run of the program and the input to the ledger: one line in one write.
fn record(ledger: &Path, input: u64) {
    let run = std::env::var("RUN").unwrap_or_default();
    OpenOptions::new()
        .append(true)
        .open(ledger)
        .and_then(|mut file| file.write_all(format!("{run} {input}\n").as_bytes()))
        .expect("the ledger can be written to");
}

#[function(max_workers = 4)]
fn cubes(ledger: &Path, number: u64) -> u64 {
    record(ledger, number);
    std::thread::sleep(Duration::from_millis(2));
    number.wrapping_pow(3)
}

#[function(name = "resuming::priced", version = "1")]
fn priced(number: u64) -> u64 {
    number
}

/// Numbers in a large result. They nearly fill pages of the database, whose sizes are powers of two.
const LARGE: usize = 7_500;

#[function(max_workers = 1)]
fn large(number: u64) -> Vec<u64> {
    vec![number; LARGE]
}

/// Runs one of several maps.
#[local_entrypoint]
fn main(how: String, file: PathBuf, ledger: Option<PathBuf>, inputs: u64) {
    match how.as_str() {
        "cubes" => {
            let ledger = ledger.expect("the ledger");
            let inputs = (0..inputs).map(|number| (ledger.clone(), number));
            let mut count = 0;
            for (number, result) in cubes.map(inputs).checkpoint(file).into_iter().enumerate() {
                assert_eq!(result.unwrap(), (number as u64).wrapping_pow(3));
                count += 1;
            }
            println!("{count} right");
        }
        "priced" => {
            let results = priced.map(0..inputs).checkpoint(file).into_iter();
            let mut results: Vec<_> = results
                .map(|result| result.map_err(|error| error.to_string()))
                .collect();
            results.dedup();
            println!("{results:?}");
        }
        "large" => {
            let (mut right, mut errors) = (0, Vec::new());
            let results = large
                .map(0..inputs)
                .window(4)
                .max_buffered(4 << 20)
                .checkpoint(file);
            for (number, result) in results.into_iter().enumerate() {
                match result {
                    Ok(value) => {
                        assert_eq!(value, vec![number as u64; LARGE]);
                        right += 1;
                    }
                    // Without the number of the input.
                    Err(CallError::Rejected(reason, _)) => errors.push(reason.to_string()),
                    Err(error) => errors.push(error.to_string()),
                }
            }
            println!("{right} right, {} errors", errors.len());
            errors.dedup();
            println!("{}", errors.join("\n"));
        }
        other => println!("{other:?} is not a way"),
    }
}
