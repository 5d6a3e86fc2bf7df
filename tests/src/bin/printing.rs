//! A program whose functions print, covering every way to call them. The first argument selects the action,
//! the second one the kind of function.

use std::ffi::{CStr, c_char, c_int};
use std::io::Write;
use std::process::Command;

use retry_runtime::{CallError, function, service};
use retry_tests::fork;
use serde::{Deserialize, Serialize};

/// The text that a function prints, and the way to print it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    how: String,
    number: u64,
}

/// Prints through the C library.
#[expect(unsafe_code, reason = "C code prints")]
fn c_prints(format: &CStr, number: u64) {
    // SAFETY: this is the C library's `printf`.
    unsafe extern "C" {
        fn printf(format: *const c_char, ...) -> c_int;
    }
    // SAFETY: the format is one of those below, which take one number of this type or none.
    unsafe {
        printf(format.as_ptr(), number);
    }
}

fn print(order: &Order) -> u64 {
    let number = order.number;
    match order.how.as_str() {
        "silent" => {}
        // One line without its line ending.
        "rust" => print!("half of {number}"),
        "c" => c_prints(c"half of %lu", number),
        "stderr" => eprint!("half of {number}"),
        "command" => {
            let script = format!("printf 'half of {number}'");
            let status = Command::new("sh").args(["-c", &script]).status();
            assert!(status.expect("sh").success());
        }
        "lines" => {
            println!("first of {number}");
            eprintln!("complaint of {number}");
            c_prints(c"second of %lu\n", number);
            print!("half of {number}");
        }
        "many" | "many on stderr" => {
            let line = format!("line of {number} {}\n", "x".repeat(80));
            let text = line.repeat(50_000 / line.len() + 1);
            if order.how == "many" {
                std::io::stdout()
                    .write_all(text.as_bytes())
                    .expect("stdout");
            } else {
                std::io::stderr()
                    .write_all(text.as_bytes())
                    .expect("stderr");
            }
        }
        "flood" => {
            let text = format!("line of {number} {}\n", "x".repeat(80)).repeat(40_000);
            std::io::stdout()
                .write_all(text.as_bytes())
                .expect("stdout");
        }
        "fork" => {
            c_prints(c"half of %lu", number);
            if fork().is_none() {
                // The child returns from the function.
                return 0;
            }
        }
        "dies" => {
            println!("last of {number}");
            std::process::abort();
        }
        "exits" => {
            c_prints(c"last of %lu", number);
            std::process::exit(3);
        }
        other => panic!("{other}"),
    }
    number
}

#[function(max_workers = 2, name = "blocking")]
fn blocking(order: Order) -> u64 {
    print(&order)
}

#[function(max_workers = 2, name = "single")]
async fn single(order: Order) -> u64 {
    print(&order)
}

#[function(max_workers = 2, concurrency = 8, name = "several")]
async fn several(order: Order) -> u64 {
    let number = print(&order);
    tokio::task::yield_now().await;
    number
}

#[function(
    max_workers = 2,
    batch(max_size = 16, max_wait = "1ms"),
    name = "batch"
)]
fn batch(orders: Vec<Order>) -> Vec<u64> {
    orders.iter().map(print).collect()
}

#[function(max_workers = 2, single_use_workers, name = "once")]
fn once(order: Order) -> u64 {
    print(&order)
}

#[function(max_workers = 2, at_most_once, name = "mortal")]
fn mortal(order: Order) -> u64 {
    print(&order)
}

struct Printer;

#[service(max_workers = 2)]
impl Printer {
    #[setup]
    fn new() -> Self {
        println!("set up");
        print!("half of it");
        Self
    }

    #[method(name = "method")]
    fn method(&self, order: Order) -> u64 {
        print(&order)
    }
}

type Results = Vec<Result<u64, CallError<std::convert::Infallible>>>;

fn map(kind: &str, orders: Vec<Order>) -> Results {
    match kind {
        "blocking" => blocking.map(orders).into_iter().collect(),
        "single" => single.map(orders).into_iter().collect(),
        "several" => several.map(orders).into_iter().collect(),
        "batch" => batch.map(orders).into_iter().collect(),
        "once" => once.map(orders).into_iter().collect(),
        "mortal" => mortal.map(orders).into_iter().collect(),
        "Printer" => Printer::with().method.map(orders).into_iter().collect(),
        other => panic!("{other}"),
    }
}

fn call(kind: &str, order: Order) -> Results {
    vec![match kind {
        "blocking" => blocking.remote(order).wait(),
        "single" => single.remote(order).wait(),
        "several" => several.remote(order).wait(),
        "batch" => batch.remote(order).wait(),
        "once" => once.remote(order).wait(),
        "mortal" => mortal.remote(order).wait(),
        "Printer" => Printer::with().method.remote(order).wait(),
        other => panic!("{other}"),
    }]
}

fn main() {
    retry_runtime::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, kind, how, count] = &arguments[..] else {
        panic!("{arguments:?}");
    };
    let count = count.parse().expect("a number");
    let order = |number| Order {
        how: how.clone(),
        number,
    };
    match mode.as_str() {
        "map" => {
            for result in map(kind, (0..count).map(order).collect()) {
                match result {
                    Ok(number) => println!("result {number}"),
                    Err(error) => println!("error {error}"),
                }
            }
        }
        // Only a few of the inputs print.
        "seldom" => {
            let orders = (0..count).map(|number| Order {
                how: if number % 997 == 500 { how } else { "silent" }.to_owned(),
                number,
            });
            let results = map(kind, orders.collect());
            assert!(results.into_iter().all(|result| result.is_ok()));
        }
        "calls" => {
            for number in 0..count {
                for result in call(kind, order(number)) {
                    let text = match result {
                        Ok(number) => format!("result {number}"),
                        Err(error) => format!("error {error}"),
                    };
                    if how == "many on stderr" {
                        eprintln!("{text}");
                    } else {
                        println!("{text}");
                    }
                }
            }
        }
        other => panic!("{other}"),
    }
}
