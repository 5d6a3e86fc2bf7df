//! Many calls one after the other, or a map over many inputs, in one worker: instructions.sh counts the
//! instructions.

use std::time::Duration;

use retry_runtime::{Runtime, Shared, function};

#[function]
fn add_one(number: u64) -> u64 {
    number + 1
}

#[function]
fn look_up(row: usize, table: Shared<[u64]>) -> u64 {
    table[row]
}

fn main() {
    retry_runtime::init();
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let count: u64 = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .expect("the second argument is a number");
    // Under valgrind, the program that started this process is valgrind itself.
    let program = std::env::current_exe().expect("the path of this program");
    let runtime = Runtime::builder()
        .max_workers(1)
        .worker_program(program)
        .build();
    let runtime = runtime.expect("a runtime");
    match what.as_str() {
        "call" => {
            for number in 0..count {
                let call = add_one.on(&runtime).remote(number);
                assert_eq!(call.wait().expect("a result"), number + 1);
            }
        }
        "map" => {
            let results = add_one.on(&runtime).map(0..count).into_iter();
            let sum: u64 = results.map(|result| result.expect("a result")).sum();
            assert_eq!(sum, count * (count + 1) / 2);
        }
        "shared" => {
            let table = Shared::<[u64]>::copy_from(&[1, 2, 3, 4]).expect("a shared value");
            for number in 0..count {
                let row = number as usize % table.len();
                let call = look_up.on(&runtime).remote(row, table.clone());
                assert_eq!(call.wait().expect("a result"), table[row]);
            }
        }
        _ => panic!("the first argument is `call`, `map` or `shared`"),
    }
    // Do not wait for the shutdown: a killed worker would not report its count, and the notification of its
    // exit is not available under every valgrind (see instructions.c).
    drop(runtime.shutdown(Duration::from_secs(60)));
    std::thread::sleep(Duration::from_secs(1));
    std::process::exit(0);
}
