//! Single calls: values, errors, and the ways to wait for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use retry_runtime::{CallError, Lost, Options, Rejected, RemoteError, Shared, function, join};
use retry_tests::{fixture, fixture_async};
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    label: String,
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum DivideError {
    #[error("{0} divided by zero")]
    ByZero(i64),
}

type Quotient = Result<i64, DivideError>;

fn serves() -> bool {
    divide
        .remote(6, 2)
        .wait()
        .is_ok_and(|quotient| quotient == 3)
}

/// Divides two numbers.
#[function]
fn divide(a: i64, b: i64) -> Quotient {
    if b == 0 {
        Err(DivideError::ByZero(a))
    } else {
        Ok(a / b)
    }
}

#[function]
fn nothing() {}

#[function]
fn describe(text: &str, bytes: &[u8], path: &Path, point: &Point, numbers: &[u32]) -> String {
    format!(
        "{text} {bytes:?} {} {} {numbers:?}",
        path.display(),
        point.label
    )
}

#[function]
fn shift(mut point: Point, by: f64) -> Point {
    point.x += by;
    point
}

#[function]
async fn later(text: &str, millis: u64) -> String {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    text.to_uppercase()
}

#[function]
fn fails_anyhow() -> anyhow::Result<u32> {
    let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "no such model");
    Err(anyhow::Error::new(cause).context("loading the model"))
}

#[function]
fn fails_eyre() -> eyre::Result<u32> {
    Err(eyre::eyre!("the cause").wrap_err("the effect"))
}

#[function]
fn fails_boxed() -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    Err("boxed text".into())
}

#[function]
fn fails_io() -> std::io::Result<Vec<u8>> {
    std::fs::read("/nonexistent/file")
}

#[function]
fn panics(message: String) -> u32 {
    panic!("{message}")
}

#[function]
fn panics_with_a_number() -> u32 {
    std::panic::panic_any(7)
}

#[function]
fn bytes_of(length: usize) -> Vec<u8> {
    vec![7; length]
}

#[function]
fn length_of(bytes: Vec<u8>) -> usize {
    bytes.len()
}

#[derive(Debug, Deserialize)]
struct NeverEncodes;

impl Serialize for NeverEncodes {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is made of sand"))
    }
}

#[function]
fn takes_sand(sand: NeverEncodes) -> u32 {
    let _ = sand;
    0
}

#[function(redact = "secret")]
fn takes_secret_sand(secret: NeverEncodes) {
    let _ = secret;
}

/// A text that a worker refuses, and quotes.
#[derive(Debug, Serialize)]
struct NeverDecodes(&'static str);

impl<'de> Deserialize<'de> for NeverDecodes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("{text} is no token")))
    }
}

#[function]
fn takes_token(token: NeverDecodes) {
    let _ = token;
}

#[function(redact = "token")]
fn takes_secret_token(token: NeverDecodes) {
    let _ = token;
}

#[function]
fn gives_sand() -> NeverEncodes {
    NeverEncodes
}

#[function(name = "a name of its own")]
fn named() -> u32 {
    1
}

mod other {
    #[retry_runtime::function]
    pub(super) fn nothing() -> u32 {
        2
    }
}

#[retry_runtime::test]
fn a_call_gives_the_value_and_an_ordinary_call_still_works() {
    fixture(LIMIT, serves, || {
        assert_eq!(divide.remote(7, 2).wait().unwrap(), 3);
        assert_eq!(divide(7, 2), Ok(3));
        assert_eq!(divide.local(7, 2), Ok(3));
        nothing.remote().wait().unwrap();
        nothing.local();
    });
}

#[retry_runtime::test]
fn arguments_may_be_references() {
    fixture(LIMIT, serves, || {
        let point = Point {
            x: 1.0,
            label: "here".into(),
        };
        let path = PathBuf::from("/tmp");
        let local = describe("t", &[1, 2], &path, &point, &[3]);
        assert_eq!(
            describe
                .remote("t", &[1, 2], &path, &point, &[3])
                .wait()
                .unwrap(),
            local
        );
        let shifted = shift.remote(point.clone(), 0.5).wait().unwrap();
        assert!((shifted.x - 1.5).abs() < f64::EPSILON);
    });
}

#[retry_runtime::test]
fn the_functions_own_error_can_be_matched() {
    fixture(LIMIT, serves, || {
        match divide.remote(7, 0).wait() {
            Err(CallError::Function(DivideError::ByZero(7), context)) => {
                assert_eq!(context.attempts().len(), 1);
                assert_eq!(context.function(), "workers::calls::divide");
                assert_ne!(context.attempts()[0].worker_pid, Some(std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        let error = divide.remote(7, 0).wait().unwrap_err();
        assert_eq!(error.to_string(), "divide failed: 7 divided by zero");
        assert!(!error.did_not_run());
    });
}

fn chain(error: CallError<RemoteError>) -> Vec<String> {
    match error {
        CallError::Function(error, _) => error.chain().map(str::to_owned).collect(),
        other => panic!("{other:?}"),
    }
}

#[retry_runtime::test]
fn errors_that_serde_cannot_carry_keep_their_chain() {
    fixture(LIMIT, serves, || {
        assert_eq!(
            chain(fails_anyhow.remote().wait().unwrap_err()),
            ["loading the model", "no such model"]
        );
        assert_eq!(
            chain(fails_eyre.remote().wait().unwrap_err()),
            ["the effect", "the cause"]
        );
        assert_eq!(
            chain(fails_boxed.remote().wait().unwrap_err()),
            ["boxed text"]
        );
        let error = fails_io.remote().wait().unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        assert!(format!("{error:?}").contains("NotFound"), "{error:?}");
    });
}

#[retry_runtime::test]
fn a_panic_is_an_error_with_message_and_place() {
    fixture(LIMIT, serves, || {
        match panics.remote("out of paper".into()).wait() {
            Err(CallError::Panicked(panic, context)) => {
                assert_eq!(panic.message(), "out of paper");
                assert!(panic.location().unwrap().contains("calls.rs"), "{panic}");
                let wanted = std::env::var("RUST_BACKTRACE").is_ok_and(|value| value != "0");
                assert_eq!(panic.backtrace().is_some(), wanted);
                // The error states this once.
                assert!(!context.stderr_tail().contains("out of paper"));
            }
            other => panic!("{other:?}"),
        }
        match panics_with_a_number.remote().wait() {
            Err(CallError::Panicked(panic, _)) => {
                let expected = "the payload is not text, but 7 of type `i32`";
                assert_eq!(panic.message(), expected);
                assert!(panic.location().unwrap().contains("calls.rs"), "{panic}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[retry_runtime::test]
async fn an_async_function_can_be_awaited() {
    fixture_async(LIMIT, serves, async {
        assert_eq!(later.remote("soon", 5).await.unwrap(), "SOON");
        assert_eq!(later("here", 1).await, "HERE");
        assert_eq!(divide.remote(9, 3).await.unwrap(), 3);
    })
    .await;
}

#[retry_runtime::test]
fn a_spawned_call_runs_on_its_own() {
    fixture(LIMIT, serves, || {
        let mut call = later.spawn("bg", 100);
        assert!(call.try_get().is_none());
        assert!(call.get(Duration::from_millis(1)).is_none());
        assert_eq!(call.get(Duration::from_secs(30)).unwrap().unwrap(), "BG");
        let long = later.spawn("long", 60_000);
        long.cancel();
        match long.wait() {
            Err(CallError::Cancelled(..)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(later.remote("after", 0).wait().unwrap(), "AFTER");
    });
}

#[retry_runtime::test]
fn functions_of_one_name_in_different_modules_do_not_clash() {
    fixture(LIMIT, serves, || {
        assert_eq!(other::nothing.remote().wait().unwrap(), 2);
        assert_eq!(other::nothing.name(), "workers::calls::other::nothing");
        assert_eq!(nothing.name(), "workers::calls::nothing");
        assert_eq!(named.name(), "a name of its own");
        assert_eq!(named.remote().wait().unwrap(), 1);
    });
}

#[retry_runtime::test]
fn a_value_that_cannot_be_encoded_is_refused_by_name() {
    fixture(LIMIT, serves, || {
        match takes_sand.remote(NeverEncodes).wait() {
            Err(CallError::Rejected(Rejected::NotEncodable { parameter, reason }, _)) => {
                assert_eq!(&*parameter, "sand");
                assert!(reason.contains("it is made of sand"));
            }
            other => panic!("{other:?}"),
        }
        for _ in 0..2 {
            match gives_sand.remote().wait() {
                Err(CallError::Lost(Lost::NotEncodable { reason }, _)) => {
                    assert!(reason.contains("it is made of sand"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

/// The texts of errors of a type often quote the value.
#[retry_runtime::test]
fn the_reason_against_a_redacted_argument_is_not_shown() {
    fixture(LIMIT, serves, || {
        let shown = takes_token.remote(NeverDecodes("abc")).wait();
        let secret = takes_secret_token.remote(NeverDecodes("abc")).wait();
        for (result, expected) in [(shown, "abc is no token"), (secret, "‹redacted›")] {
            match result {
                Err(CallError::Rejected(Rejected::NotDecodable { parameter, reason }, _)) => {
                    assert_eq!((&*parameter, &*reason), ("token", expected));
                }
                other => panic!("{other:?}"),
            }
        }
        match takes_secret_sand.remote(NeverEncodes).wait() {
            Err(CallError::Rejected(Rejected::NotEncodable { parameter, reason }, _)) => {
                assert_eq!((&*parameter, &*reason), ("secret", "‹redacted›"));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[retry_runtime::test]
fn large_values_travel_whole() {
    fixture(LIMIT, serves, || {
        for length in [0, 1, 8 * 1024, 65_536 - 40, 65_536, 65_537, 1 << 20] {
            let bytes = bytes_of.remote(length).wait().unwrap();
            assert_eq!(bytes.len(), length);
            assert_eq!(length_of.remote(bytes).wait().unwrap(), length);
        }
        let bytes = bytes_of.remote(100 << 20).wait().unwrap();
        assert_eq!(bytes.len(), 100 << 20);
        assert_eq!(length_of.remote(bytes).wait().unwrap(), 100 << 20);
    });
}

#[retry_runtime::test]
fn a_message_above_the_limit_is_refused() {
    fixture(LIMIT, serves, || {
        let too_large = (256 << 20) + 1;
        match length_of.remote(vec![0; too_large]).wait() {
            Err(error) => {
                let CallError::Rejected(Rejected::TooLarge { parameter, limit }, _) = &error else {
                    panic!("{error:?}");
                };
                assert_eq!((&**parameter, *limit), ("bytes", 256 << 20));
                assert!(error.did_not_run());
            }
            Ok(length) => panic!("{length}"),
        }
        match bytes_of.remote(too_large).wait() {
            Err(CallError::Lost(Lost::TooLarge { limit }, _)) => assert_eq!(limit, 256 << 20),
            other => panic!("{other:?}"),
        }
        assert_eq!(bytes_of.remote(3).wait().unwrap(), [7, 7, 7]);
    });
}

#[retry_runtime::test]
fn a_timeout_stops_the_code_and_says_which_limit_it_was() {
    fixture(LIMIT, serves, || {
        let brief = later.with_options(Options::new().timeout(Duration::from_millis(100)));
        let begun = std::time::Instant::now();
        let error = brief.remote("never", 60_000).wait().unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(10));
        match &error {
            CallError::TimedOut(timed_out, context) => {
                assert_eq!(timed_out.limit(), retry_runtime::Limit::Attempt);
                assert!(context.attempts()[0].duration >= Duration::from_millis(100));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(brief.remote("ok", 1).wait().unwrap(), "OK");
        let error = later
            .remote("never", 60_000)
            .deadline(Duration::from_millis(50))
            .wait();
        match error {
            Err(CallError::TimedOut(timed_out, _)) => {
                assert_eq!(timed_out.limit(), retry_runtime::Limit::Deadline);
            }
            other => panic!("{other:?}"),
        }
    });
}

#[function]
fn count_words(text: &str) -> HashMap<String, u32> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn without_the_worker_check_no_worker_is_started() {
    // This process may start workers if another test in it has allowed that; see `processes` for the refusal.
    // Everything that can be built without a worker can be built here.
    let _call = count_words.remote("a b a");
    assert_eq!(count_words("a b a")["a"], 2);
}

#[retry_runtime::test]
fn threads_and_runtimes_can_call_at_once() {
    fixture(LIMIT, serves, || {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                std::thread::spawn(move || {
                    if thread % 2 == 0 {
                        for number in 0..50 {
                            assert_eq!(divide.remote(number, 1).wait().unwrap(), number);
                        }
                    } else {
                        let runtime = tokio::runtime::Builder::new_multi_thread()
                            .worker_threads(1)
                            .build()
                            .unwrap();
                        runtime.block_on(async {
                            for number in 0..50 {
                                assert_eq!(divide.remote(number, 1).await.unwrap(), number);
                            }
                        });
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[function]
fn sleeps(ledger: PathBuf, millis: u64) -> u64 {
    retry_tests::record(&ledger, millis);
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[retry_runtime::test]
async fn a_dropped_call_is_cancelled() {
    fixture_async(LIMIT, serves, async {
        let ledger = retry_tests::Ledger::new();
        let calls: Vec<_> = (0..100)
            .map(|_| Box::pin(sleeps.remote(ledger.path(), 60_000)))
            .collect();
        let mut calls: futures_util::stream::FuturesUnordered<_> = calls.into_iter().collect();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        use futures_util::Stream;
        assert!(
            std::pin::Pin::new(&mut calls)
                .poll_next(&mut context)
                .is_pending()
        );
        retry_tests::eventually("some run", Duration::from_secs(20), || ledger.total() >= 1);
        drop(calls);
        assert_eq!(sleeps.remote(ledger.path(), 1).await.unwrap(), 1);
    })
    .await;
}

#[function]
fn sum(numbers: &Shared<[u64]>) -> u64 {
    numbers.iter().sum()
}

#[function]
fn count_up(to: u64) -> Shared<[u64]> {
    let numbers: Vec<u64> = (0..to).collect();
    Shared::new(&numbers[..]).unwrap()
}

/// Runs its function when its thread ends, after all other locals of the thread are gone.
struct AtTheEnd(Option<Box<dyn FnOnce()>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.take().expect("it is dropped once")();
    }
}

thread_local! {
    static AT_THE_END: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

#[retry_runtime::test]
fn a_thread_that_ends_may_call() {
    fixture(LIMIT, serves, || {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let shared = Shared::new(&[1, 2][..]).unwrap();
            let calls = move || {
                let quotients = (
                    divide.remote(6, 2).wait().ok(),
                    divide.map([(6, 3)]).into_iter().count(),
                );
                let shared = (
                    count_up
                        .remote(3)
                        .wait()
                        .map(|numbers| numbers.to_vec())
                        .ok(),
                    sum.remote(&shared)
                        .wait()
                        .map_err(|error| error.did_not_run()),
                );
                sender.send((quotients, shared)).unwrap();
            };
            AT_THE_END.set(Some(AtTheEnd(Some(Box::new(calls)))));
            // Now the locals that calls use are made, and so are gone first.
            assert_eq!(divide.remote(4, 2).wait().unwrap(), 2);
            let numbers = count_up.remote(3).wait().unwrap();
            assert_eq!(sum.remote(&numbers).wait().unwrap(), 3);
        });
        let (quotients, shared) = receiver.recv().unwrap();
        thread.join().unwrap();
        assert_eq!(quotients, (Some(3), 1));
        assert_eq!(shared, (Some(vec![0, 1, 2]), Err(true)));
    });
}

#[retry_runtime::test]
fn polling_a_call_does_not_block_its_thread() {
    fixture(LIMIT, serves, || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let ready = (0..200)
            .filter(|_| {
                let mut call = std::pin::pin!(nothing.remote());
                let is_ready = call.as_mut().poll(&mut context).is_ready();
                // The next call is a fast one again, and is not queued behind others.
                is_ready || nothing.remote().wait().is_err()
            })
            .count();
        // An answer may still be ready if this thread is preempted during the poll.
        assert!(ready < 50, "{ready} of 200 polls waited for their answer");
    });
}

/// Returns the text of the panic of a future.
async fn panic_of<T>(future: impl Future<Output = T>) -> String {
    let result = std::panic::AssertUnwindSafe(future).catch_unwind().await;
    let panic = result.err().expect("it panics");
    let text = panic.downcast::<String>().unwrap();
    *text
}

#[retry_runtime::test]
fn blocking_a_thread_of_a_runtime_panics_at_the_callers_line() {
    fixture(LIMIT, serves, || {
        let place = Arc::new(Mutex::new(0));
        let noted = Arc::clone(&place);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let location = panic.location().unwrap();
            if location.file() == file!() {
                *noted.lock().unwrap() = location.line();
            }
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let line = || std::mem::take(&mut *place.lock().unwrap());
        runtime.block_on(async {
            let text = panic_of(async { divide.remote(1, 1).wait() }).await;
            assert_eq!(line(), line!() - 1, "{text}");
            assert!(text.starts_with("`.wait()` would block"), "{text}");
            assert!(text.contains("write `.await` instead"), "{text}");
            let spawned = panic_of(async { divide.spawn(1, 1).wait() }).await;
            assert_eq!((line(), spawned), (line!() - 1, text.clone()));
            let joined = panic_of(async { join([divide.spawn(1, 1)]).wait() }).await;
            assert_eq!((line(), joined), (line!() - 1, text.clone()));
            let all = divide.map([(1, 1)]).try_collect::<Vec<_>>();
            let collected = panic_of(async { all.wait() }).await;
            assert_eq!((line(), collected), (line!() - 1, text.clone()));
            let each = panic_of(async { divide.for_each([(1, 1)]).wait() }).await;
            assert_eq!((line(), each), (line!() - 1, text));
            let text = panic_of(async {
                let mut call = divide.spawn(1, 1);
                // Without a timeout nothing blocks.
                let _ = call.get(Duration::ZERO);
                call.get(LIMIT)
            })
            .await;
            assert_eq!(line(), line!() - 3, "{text}");
            assert!(text.contains("timeout, &mut call).await"), "{text}");
            let text = panic_of(async { for _ in divide.map([(1, 1)]) {} }).await;
            assert_eq!(line(), line!() - 1, "{text}");
            assert!(text.contains("`map.await` or `map.stream()`"), "{text}");
            let adapted = async { divide.map([(1, 1)]).into_iter().count() };
            let (text, made) = (panic_of(adapted).await, line!() - 1);
            let made = format!("made at {}:{made}:", file!());
            assert!(text.contains(&made), "{text}");
        });
        std::panic::set_hook(before);
    });
}

#[function]
async fn waits(number: i64) -> i64 {
    divide.remote(number, 1).wait().unwrap()
}

#[retry_runtime::test]
fn a_thread_that_may_block_can_wait_in_async_code() {
    fixture(LIMIT, serves, || {
        let blocks = || divide.remote(6, 3).wait().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let pooled = tokio::task::spawn_blocking(blocks).await.unwrap();
            let in_place = tokio::task::block_in_place(blocks);
            let task = tokio::spawn(async move { tokio::task::block_in_place(blocks) });
            assert_eq!([pooled, in_place, task.await.unwrap()], [2; 3]);
        });
        let entered = runtime.enter();
        assert_eq!(blocks(), 2);
        drop(entered);
        // A worker's thread has entered a runtime, and another thread drives that.
        assert_eq!(waits.remote(4).wait().unwrap(), 4);
    });
}

#[function]
fn divides_later(a: i64, b: i64) -> Quotient {
    let begun = Instant::now();
    let quotient = divide.remote(a, b).after(START_DELAY).wait();
    assert!(begun.elapsed() >= START_DELAY);
    quotient.map_err(|_| DivideError::ByZero(a))
}

const START_DELAY: Duration = Duration::from_millis(300);

#[retry_runtime::test]
fn a_call_begins_when_its_delay_is_over() {
    fixture(LIMIT, serves, || {
        let begun = Instant::now();
        let delayed = divide.remote(6, 3).after(START_DELAY);
        let delayed = delayed.deadline(START_DELAY / 2).spawn();
        let unending = divide.remote(6, 3).after(Duration::MAX).spawn();
        assert_eq!(divide.remote(6, 2).wait().unwrap(), 3, "it goes first");
        assert_eq!(delayed.wait().unwrap(), 2);
        assert!(begun.elapsed() >= START_DELAY);
        unending.cancel();
        let error = unending.wait().unwrap_err();
        assert!(matches!(error, CallError::Cancelled(..)), "{error:?}");
        assert!(error.did_not_run());
        assert_eq!(divides_later.remote(6, 1).wait().unwrap(), 6);
    });
}
