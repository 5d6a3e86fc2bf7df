//! A program that prints while its calls are pending.

use std::time::Duration;

use retry_runtime::{function, local_entrypoint};

#[function(max_workers = 1)]
fn naps(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[function(max_workers = 2)]
fn sleeps_in_pairs(milliseconds: u64) -> u64 {
    println!("sleeping");
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

/// Waits long enough for the display to be redrawn, and prints.
fn print_late(line: &str) {
    std::thread::sleep(Duration::from_millis(250));
    println!("{line}");
}

/// Makes calls in one of several ways.
#[local_entrypoint]
fn main(how: String) {
    match how.as_str() {
        "map" => {
            for result in naps.map([3000, 700, 0]) {
                print_late(&format!("main got {result:?}"));
            }
        }
        "calls" => {
            for milliseconds in [3000, 700] {
                let result = naps.remote(milliseconds).wait();
                print_late(&format!("main got {result:?}"));
            }
        }
        "get" => {
            let mut call = naps.spawn(4000);
            while call.get(Duration::from_millis(2500)).is_none() {
                print_late("main waits");
            }
        }
        "async" => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                for milliseconds in [3000, 700] {
                    let result = naps.remote(milliseconds).await;
                    print_late(&format!("main got {result:?}"));
                }
                let results = naps.map([800, 0]).await;
                print_late(&format!("main got {} results", results.len()));
            });
        }
        "exit" => {
            let _ = naps.remote(3000).wait();
            print_late("main exits");
            std::process::exit(0);
        }
        "large map" => {
            let inputs = std::iter::once(3000).chain(std::iter::repeat_n(0, 5999));
            let inputs: Vec<u64> = inputs.collect();
            let sum: u64 = naps.map(inputs).into_iter().flatten().sum();
            println!("main got {sum}");
        }
        "unknown size" => {
            // More inputs than a map takes ahead of its consumer.
            let inputs = std::iter::once(3000).chain(std::iter::repeat_n(0, 5999));
            let inputs = inputs.filter(|_| true);
            let sum: u64 = naps.map(inputs).into_iter().flatten().sum();
            println!("main got {sum}");
        }
        "two maps" => {
            for inputs in [vec![3000, 0, 0, 0, 0], vec![3000, 0, 0]] {
                let results = naps.map(inputs).into_iter().flatten();
                println!("main got {}", results.count());
            }
        }
        "interrupted" => {
            println!("main begins");
            let ended = sleeps_in_pairs.map([600_000; 40]).into_iter().count();
            println!("main got {ended} results");
            // A signal ends the program.
            std::thread::park();
        }
        other => println!("{other:?} is not a way"),
    }
    println!("main is done");
}
