//! A program whose calls run on other machines: `hosts FUNCTION FIRST END` maps a function over the numbers, and
//! prints a line for each result. Functions append a line to the file named by `LEDGER` when they begin.
//!
//! With `RETRY_SERVE` it is an agent.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use retry_runtime::{CallId, CrashLimit, FunctionCall, Runtime, current, function, service};
use retry_tests::record;

fn begin(input: u64) {
    if let Some(path) = std::env::var_os("LEDGER") {
        record(Path::new(&path), input);
    }
}

/// The delay before a call that is made for later.
const START_DELAY: Duration = Duration::from_secs(2);

/// Sleeps for as many milliseconds as the variable says.
fn work() {
    std::thread::sleep(working_time());
}

fn working_time() -> Duration {
    let millis = std::env::var("WORK")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(0))
}

#[function]
fn square(number: u64) -> u64 {
    number * number
}

#[function(max_workers = 4)]
fn slow(number: u64) -> u64 {
    begin(number);
    work();
    number
}

/// The number that [`progresses`] adds to its input when it is done.
const DONE: u64 = 1_000_000;

/// Works as [`slow`] does, and shows in the ledger that it is still working. With the variable `LEAVES_GROUP` it has a
/// process of its own that leaves the worker's group.
#[function(max_workers = 4)]
fn progresses(number: u64) -> u64 {
    let mut child = std::env::var_os("LEAVES_GROUP").map(|_| {
        let mut command = std::process::Command::new("sleep");
        let command = command.arg("600").process_group(0);
        command.spawn().expect("a process")
    });
    let until = Instant::now() + working_time();
    while Instant::now() < until {
        begin(number);
        std::thread::sleep(Duration::from_millis(10));
    }
    if let Some(child) = &mut child {
        let _ = child.kill();
        let _ = child.wait();
    }
    begin(number + DONE);
    number
}

/// Fails as often as the number says.
#[function(max_workers = 4, retries(max_retries = 3, initial_delay = "20ms"))]
fn fails(number: u64) -> Result<u64, String> {
    begin(number);
    let attempt = u64::from(current().map_or(1, |call| call.attempt()));
    match attempt <= number {
        true => Err(format!("attempt {attempt} on {number}")),
        false => Ok(attempt),
    }
}

/// Fails once, with a delay that is too long to be waited for on the machine.
#[function(max_workers = 4, retries(max_retries = 2, initial_delay = "1500ms"))]
fn later(number: u64) -> Result<u32, String> {
    later_body(number)
}

fn later_body(number: u64) -> Result<u32, String> {
    begin(number);
    match current().map_or(1, |call| call.attempt()) {
        1 => Err("not yet".to_owned()),
        attempt => Ok(attempt),
    }
}

/// Fails once, with a delay that is long enough for a server to be restarted meanwhile.
#[function(retries(max_retries = 2, initial_delay = "20s"))]
fn much_later(number: u64) -> Result<u32, String> {
    later_body(number)
}

/// Fails each time, with a delay that is waited for on the machine.
#[function(
    max_workers = 4,
    retries(max_retries = 1000, initial_delay = "900ms", backoff_coefficient = 1.0)
)]
fn in_vain(number: u64) -> Result<u64, String> {
    begin(number);
    Err("not yet".to_owned())
}

/// Sleeps for as many milliseconds as the number says.
#[function]
fn takes(number: u64) -> u64 {
    begin(number);
    std::thread::sleep(Duration::from_millis(number));
    number
}

/// Does not come to an end in its first attempt at 200.
#[function(max_workers = 4)]
fn sticks_at_200(number: u64) -> u64 {
    begin(number);
    if number == 200 && current().is_some_and(|call| call.attempt() == 1) {
        std::thread::sleep(Duration::from_secs(600));
    }
    number
}

#[function(max_workers = 4, crash_limit = CrashLimit::unlimited())]
fn segfaults_at_13(number: u64) -> u64 {
    begin(number);
    if number == 13 {
        // The handler of the standard library lets the second one take effect.
        let own = rustix::process::getpid();
        loop {
            let _ = rustix::process::kill_process(own, rustix::process::Signal::SEGV);
        }
    }
    number
}

#[function(max_workers = 4, crash_limit = CrashLimit::unlimited())]
fn crashes_at_13(number: u64) -> u64 {
    begin(number);
    if number == 13 {
        std::process::abort();
    }
    number
}

/// Kills its machine at 13.
#[function(max_workers = 4)]
fn kills_at_13(number: u64) -> u64 {
    begin(number);
    if number == 13 {
        let agent = rustix::process::getppid().expect("an agent");
        let _ = rustix::process::kill_process(agent, rustix::process::Signal::KILL);
        std::thread::sleep(Duration::from_secs(60));
    }
    number
}

#[function(max_workers = 4, at_most_once)]
fn once(number: u64) -> u64 {
    begin(number);
    work();
    number
}

#[function]
fn large(number: u64) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap_or_default(); 300_000]
}

#[function(max_workers = 2)]
fn nests(number: u64) -> u64 {
    square.map(0..=number).into_iter().map(Result::unwrap).sum()
}

/// Goes on until there is a file with the name of the ledger and `.gate`.
#[function(max_workers = 1)]
fn waits(number: u64) -> u64 {
    begin(number);
    let ledger = std::env::var_os("LEDGER").expect("a ledger");
    let gate = Path::new(&ledger).with_extension("gate");
    while !gate.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    number
}

/// A service whose configuration may be large.
struct Padded(Vec<u8>);

#[service(max_workers = 1)]
impl Padded {
    #[setup]
    fn new(padding: Vec<u8>) -> Self {
        Self(padding)
    }

    #[method]
    fn length(&self, more: Vec<u8>) -> usize {
        self.0.len() + more.len()
    }
}

#[function(max_workers = 4, deadline = "1s")]
fn limited(number: u64) -> u64 {
    begin(number);
    work();
    number
}

pub(crate) fn main() {
    retry_runtime::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| arguments[place].parse::<u64>().expect("a number");
    let id = |place: usize| arguments[place].parse::<CallId>().expect("an id");
    let inputs = || number(1)..number(2);
    macro_rules! map {
        ($($name:ident)*) => {
            match arguments[0].as_str() {
                $(stringify!($name) => {
                    for (index, result) in $name.map(inputs()).into_iter().enumerate() {
                        println!("{index} {}", describe(result));
                    }
                })*
                other => panic!("no function {other}"),
            }
        };
    }
    retry_runtime::run(|| match arguments[0].as_str() {
        "single" => println!("{}", describe(slow.remote(number(1)).wait())),
        "single_limited" => println!("{}", describe(limited.remote(number(1)).wait())),
        "separate" => separate(&std::env::var("ADDRESS").expect("an address")),
        "waits" => println!("{}", describe(waits.remote(number(1)).wait())),
        "padded" => {
            let bytes = |place: usize| vec![0_u8; arguments[place].parse().expect("a number")];
            let padded = Padded::with(bytes(1));
            println!("{}", describe(padded.length.remote(bytes(2)).wait()));
        }
        "spawned" => {
            println!("{}", slow.spawn(number(1)).id());
            println!("{}", fails.spawn(number(2)).id());
        }
        "spawned_for_later" => {
            let call = slow.remote(number(1)).after(START_DELAY);
            println!("{}", call.spawn().id());
        }
        "spawned_limited_for_later" => {
            let call = limited.remote(number(1)).after(START_DELAY);
            println!("{}", call.spawn().id());
        }
        "attached_limited" => println!("{}", describe(limited.attach(id(1)).wait())),
        "attached" => println!("{}", describe(slow.attach(id(1)).wait())),
        "attached_failed" => println!("{}", describe(fails.attach(id(1)).wait())),
        "attached_square" => println!("{}", describe(square.attach(id(1)).wait())),
        "spawned_in_vain" => println!("{}", in_vain.spawn(number(1)).id()),
        "attached_cancelled" => cancel_when_told(in_vain.attach(id(1))),
        "attached_twice" => {
            let here = slow.spawn(number(1));
            let (first, second) = (slow.attach(here.id()), slow.attach(here.id()));
            assert!(first.id() == here.id() && second.id() == here.id());
            for call in [first, here, second] {
                println!("{}", describe(call.wait()));
            }
        }
        "cancelled" => cancel_when_told(slow.spawn(number(1))),
        "cancelled_waits" => cancel_when_told(waits.spawn(number(1))),
        "cancelled_in_vain" => cancel_when_told(in_vain.spawn(number(1))),
        "cancelled_much_later" => cancel_when_told(much_later.spawn(number(1))),
        "many" => many(inputs(), number(3), number(4)),
        "leaves" => {
            let _left = progresses.spawn(100);
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
            for result in progresses.map(inputs()) {
                println!("{}", describe(result));
            }
        }
        "large" => {
            for (number, result) in large.map(inputs()).into_iter().enumerate() {
                let value = result.expect("a value");
                assert_eq!(value.len(), 300_000);
                assert!(
                    value
                        .iter()
                        .all(|byte| u64::from(*byte) == number as u64 % 251)
                );
            }
            println!("whole");
        }
        _ => {
            map!(square slow progresses fails later crashes_at_13 segfaults_at_13 kills_at_13 sticks_at_200 takes once nests limited)
        }
    });
}

/// Cancels a call once there is a line on standard input.
fn cancel_when_told<T: std::fmt::Debug, E: std::fmt::Display>(call: FunctionCall<T, E>) {
    wait_for_line();
    call.cancel();
    println!("{}", describe(call.wait()));
}

fn wait_for_line() {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}

/// Makes calls of `much_later`, of `takes`, and ones of `takes` that are cancelled once there is a line on standard
/// input.
fn many(taking: std::ops::Range<u64>, delayed: u64, cancelled: u64) {
    let delayed: Vec<_> = (0..delayed).map(|one| much_later.spawn(one)).collect();
    let taking: Vec<_> = taking.map(|one| takes.spawn(one)).collect();
    let cancelled: Vec<_> = (2500..2500 + cancelled)
        .map(|one| takes.spawn(one))
        .collect();
    wait_for_line();
    cancelled.iter().for_each(|call| call.cancel());
    for call in cancelled {
        println!("cancelled {}", describe(call.wait()));
    }
    println!("all are cancelled");
    for call in taking {
        println!("taking {}", describe(call.wait()));
    }
    for call in delayed {
        println!("delayed {}", describe(call.wait()));
    }
}

/// Makes calls through a runtime of their own, and shuts it down.
fn separate(address: &str) {
    let runtime = Runtime::builder()
        .engine(address)
        .build()
        .expect("an engine");
    let events = runtime.events();
    println!("{}", describe(square.on(&runtime).remote(7).wait()));
    let end = events.into_iter().find(retry_runtime::Event::is_finished);
    println!("{:?}", end.map(|event| event.function));
    let left = slow.on(&runtime).spawn(1);
    let abandoned = runtime.shutdown(Duration::from_millis(500)).wait();
    println!("{}", abandoned.len());
    println!("{}", describe(left.wait()));
    println!("{}", describe(square.on(&runtime).remote(8).wait()));
}

fn describe<T: std::fmt::Debug, E: std::fmt::Display>(
    result: Result<T, retry_runtime::CallError<E>>,
) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => {
            let attempts = error.context().attempts().iter();
            let history: Vec<_> = attempts.map(|one| one.outcome.to_string()).collect();
            format!("error: {error} [{}]", history.join(", "))
        }
    }
}
