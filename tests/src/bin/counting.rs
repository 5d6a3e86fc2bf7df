//! A program that prints while its calls are pending.

use std::io::Write;
use std::time::Duration;

use retry_runtime::{Retries, function, local_entrypoint, progress};

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

#[function(max_workers = 2)]
fn sleeps_quietly(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[function(max_workers = 1)]
fn naps_and_prints(milliseconds: u64) -> u64 {
    println!("printing");
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[function]
fn fails(number: u64) -> Result<u64, String> {
    Err(format!("{number} is not wanted"))
}

#[function(setup = sleep_for_long)]
fn starts_slowly(_state: &()) {}

fn sleep_for_long() {
    std::thread::sleep(Duration::from_secs(4));
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
        "half a line" => {
            print!("the sum is ");
            std::io::stdout().flush().unwrap();
            let sum: u64 = naps.map([3000, 700]).into_iter().flatten().sum();
            println!("{sum}, as expected");
        }
        "many results" => {
            let results = naps.map([10; 300]).into_iter().flatten();
            println!("main got {} results", results.count());
        }
        "slow inputs" => {
            let inputs = (0..3).inspect(|_| std::thread::sleep(Duration::from_millis(1500)));
            let _ = naps.map(inputs).into_iter().count();
        }
        "in order" => {
            let inputs = std::iter::once(4000).chain(std::iter::repeat_n(0, 999));
            let _ = sleeps_quietly.map(inputs).window(10).into_iter().count();
        }
        "retries" => {
            let delayed = Retries::fixed(1, Duration::from_secs(3));
            let _ = fails.map([1]).retries(delayed).into_iter().count();
        }
        "slow start" => {
            let _ = starts_slowly.remote().wait();
        }
        "slow consumer" => {
            let mut results = naps.map([0; 5000]).window(100).into_iter();
            for _ in results.by_ref().take(100) {
                std::thread::sleep(Duration::from_millis(150));
            }
        }
        "other threads" => {
            let printing = std::thread::spawn(|| {
                std::thread::sleep(Duration::from_millis(1500));
                for number in 0..3 {
                    progress::suspend(|| println!("thread {number}"));
                    std::thread::sleep(Duration::from_millis(200));
                }
                progress::set_visible(false);
                std::thread::sleep(Duration::from_millis(200));
                println!("hidden");
                progress::set_visible(true);
            });
            let _ = naps.remote(3500).wait();
            printing.join().unwrap();
        }
        "closures" | "closures below an adopted display" => {
            let bars = progress::MultiProgress::new();
            if how != "closures" {
                progress::adopt(&bars);
            }
            let waiting = std::thread::spawn(|| naps.remote(2500).wait());
            std::thread::sleep(Duration::from_millis(1500));
            progress::suspend(|| {
                progress::suspend(|| println!("inside"));
                let results = naps_and_prints.map([100]).into_iter();
                println!("called {:?}", results.flatten().collect::<Vec<_>>());
                progress::set_visible(true);
                println!("asks");
                std::thread::sleep(Duration::from_millis(300));
            });
            println!("waited {:?}", waiting.join().unwrap().ok());
        }
        "adopted" => {
            let bars = progress::MultiProgress::new();
            progress::adopt(&bars);
            let own = bars.add(indicatif::ProgressBar::new(3));
            own.set_style(indicatif::ProgressStyle::with_template("own bar {pos}/{len}").unwrap());
            own.enable_steady_tick(Duration::from_millis(50));
            let sum: u64 = naps_and_prints.map([3000]).into_iter().flatten().sum();
            bars.println(format!("main got {sum}")).unwrap();
            own.finish_and_clear();
            bars.clear().unwrap();
        }
        "asks for ever" => {
            let mut call = naps.spawn(600_000);
            // The display appears after a second.
            let _ = call.get(Duration::from_millis(1500));
            progress::suspend(|| {
                println!("asks");
                std::thread::park();
            });
        }
        "interrupted" => {
            println!("main begins");
            let ended = sleeps_in_pairs.map([600_000; 40]).into_iter().count();
            println!("main got {ended} results");
            // A signal ends the program.
            std::thread::park();
        }
        "interrupted large map" => {
            // Shorter runs have no summary.
            let _ = naps.remote(1000).wait();
            let inputs = std::iter::repeat_n(600_000, 6000);
            let ended = sleeps_in_pairs.map(inputs).into_iter().count();
            println!("main got {ended} results");
            // A signal ends the program.
            std::thread::park();
        }
        other => println!("{other:?} is not a way"),
    }
    println!("main is done");
}
