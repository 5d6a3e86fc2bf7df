//! Bugs that this library once had.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use retry_runtime::{EventKind, Stream, function};
use retry_tests::{Ledger, fixture, record, seeded};
use serde::{Deserialize, Serialize, Serializer};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

#[function(max_workers = 1, at_most_once)]
fn busy(ledger: PathBuf, input: u64, micros: u64) -> u64 {
    record(&ledger, input);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
    input
}

#[retry_runtime::test]
fn at_most_once_holds_behind_an_input_that_times_out() {
    fixture(LIMIT, serves, || {
        seeded(200, |random, _| {
            let ledger = Ledger::new();
            let mut others = random.fork();
            let inputs = (0..4).map(|input| (ledger.path(), input, others.u64(1900..2005)));
            busy.map(inputs)
                .timeout(Duration::from_millis(2))
                .into_iter()
                .for_each(drop);
            let executions = ledger.executions();
            assert!(
                executions.values().all(|times| *times == 1),
                "{executions:?}"
            );
        });
    });
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the caller's executor")
    }
}

#[retry_runtime::test]
fn a_waker_that_panics_harms_nobody_else() {
    fixture(LIMIT, serves, || {
        let waker = Waker::from(Arc::new(Panics));
        let mut waited = false;
        while !waited {
            let mut call = Box::pin(echo.remote(5));
            let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
            waited = polled.is_pending();
            // The result arrives, and the engine calls the waker.
            assert!(serves());
        }
        assert!(serves());
    });
}

#[derive(Debug, Deserialize)]
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 5, "five");
        serializer.serialize_newtype_struct("Number", &self.0)
    }
}

#[function]
fn number(n: Number) -> u64 {
    n.0
}

#[retry_runtime::test]
fn an_input_whose_encoding_panics_does_so_at_its_position() {
    fixture(LIMIT, serves, || {
        let mut results = number.map((0..10).map(Number)).into_iter();
        for expected in 0..5 {
            assert_eq!(results.next().unwrap().unwrap(), expected);
        }
        let panic = catch_unwind(AssertUnwindSafe(|| results.next()));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"five"));
        assert!(results.next().is_none());
    });
}

/// Writes garbage to the worker's own connections.
fn garble() -> ! {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("socket:") {
            let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
            let fd = entry.file_name().to_string_lossy().parse().unwrap();
            let copy = pidfd_getfd(own, fd, PidfdGetfdFlags::empty()).unwrap();
            rustix::io::write(&copy, &[0xff; 64]).unwrap();
        }
    }
    loop {
        std::thread::sleep(LIMIT);
    }
}

#[function(max_workers = 1)]
fn breaks_once() -> u32 {
    if retry_runtime::current().unwrap().attempt() == 1 {
        garble()
    }
    2
}

#[retry_runtime::test]
fn an_attempt_that_breaks_the_protocol_has_an_event() {
    fixture(LIMIT, serves, || {
        let mut stream = retry_runtime::events();
        assert_eq!(breaks_once.remote().wait().unwrap(), 2);
        let mut crashed = false;
        while let Some(event) = stream.try_next() {
            match event.kind {
                EventKind::AttemptFailed { .. } if event.function == breaks_once.name() => {
                    crashed = event.attempt == Some(1);
                }
                EventKind::Started { .. } if event.attempt == Some(2) => assert!(crashed),
                _ => {}
            }
        }
        assert!(crashed);
    });
}

fn prints_while_it_is_set_up() -> u32 {
    println!("from the set-up");
    eprintln!("and from there, too");
    7
}

#[function(setup = prints_while_it_is_set_up, max_workers = 1)]
fn is_set_up(state: &u32) -> u32 {
    *state
}

#[retry_runtime::test]
fn output_of_a_set_up_is_passed_on_but_not_the_harnesss() {
    fixture(LIMIT, serves, || {
        let mut stream = retry_runtime::events();
        assert_eq!(is_set_up.remote().wait().unwrap(), 7);
        let mut printed = Vec::new();
        while printed.len() < 2 {
            let event = stream.next_timeout(LIMIT).expect("both lines");
            match event.kind {
                EventKind::Output { stream, line, .. } if event.function == is_set_up.name() => {
                    printed.push((stream, line));
                }
                _ => {}
            }
        }
        printed.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
        assert_eq!(
            printed,
            [
                (Stream::Stdout, "from the set-up".to_owned()),
                (Stream::Stderr, "and from there, too".to_owned()),
            ]
        );
    });
}

#[function(max_workers = 1)]
fn sleeps_for(time: Duration) {
    std::thread::sleep(time);
}

#[function(max_workers = 1, batch(max_size = 1, max_wait = "1ms"))]
fn sleeps_for_each(times: Vec<Duration>) -> Vec<()> {
    times.into_iter().map(std::thread::sleep).collect()
}

/// The second call arrives while the first one runs, and the waiter for the first does not poll for its
/// answer: the worker has to send a notification.
#[retry_runtime::test]
fn an_answer_is_not_kept_while_the_next_call_runs() {
    fixture(LIMIT, serves, || {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(3));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let first_then_second = async |first: Later, second: Later| {
            let first = tokio::spawn(first);
            tokio::time::sleep(short / 2).await;
            let second = tokio::spawn(second);
            let begun = Instant::now();
            first.await.unwrap();
            assert!(begun.elapsed() < long / 2, "{:?}", begun.elapsed());
            second.await.unwrap();
        };
        let call = |time| Box::pin(async move { sleeps_for.remote(time).await.unwrap() });
        let batched = |time| Box::pin(async move { sleeps_for_each.remote(time).await.unwrap() });
        runtime.block_on(async {
            sleeps_for.remote(Duration::ZERO).await.unwrap();
            first_then_second(call(short), call(long)).await;
            sleeps_for_each.remote(Duration::ZERO).await.unwrap();
            first_then_second(batched(short), batched(long)).await;
        });
    });
}

type Later = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
