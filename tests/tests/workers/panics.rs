//! Panics are reported with their own message and location.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, Once};
use std::thread;
use std::time::Duration;

use retry_runtime::{
    AttemptOutcome, CallError, Panic, Retries, Runtime, Startup, function, service,
};
use retry_tests::fixture;

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

/// Returns the payload of a panic on another thread.
fn on_a_thread(body: fn()) -> Box<dyn Any + Send> {
    thread::spawn(body).join().unwrap_err()
}

fn text(text: &str) -> String {
    text.to_owned()
}

struct Quiet;

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = catch_unwind(|| panic!("in drop {}", 1));
    }
}

#[derive(Debug)]
struct Opaque;

/// Panics in one of many ways. The expected place, if any, is on the line that `place` names.
#[function]
fn panics(how: String) -> u64 {
    match &*how {
        "another thread's" => {
            let _ = catch_unwind(|| panic!("a"));
            resume_unwind(on_a_thread(|| panic!("b")))
        }
        "another thread's formatted" => {
            let _ = catch_unwind(|| panic!("number {}", 1));
            resume_unwind(on_a_thread(|| panic!("number {}", 2)))
        }
        "an older one" => {
            let older = catch_unwind(|| panic!("older {}", 1)).unwrap_err();
            let _ = catch_unwind(|| panic!("newer {}", 1));
            resume_unwind(older)
        }
        "an older one with the same text" => {
            let older = catch_unwind(|| panic!("same {}", how.len())).unwrap_err();
            let _ = catch_unwind(|| panic!("same {}", how.len()));
            resume_unwind(older)
        }
        "one of two literals" => {
            let older = catch_unwind(|| panic!("the same literal")).unwrap_err();
            let _ = catch_unwind(|| panic!("the same literal"));
            resume_unwind(older)
        }
        "a scope's" => thread::scope(|scope| {
            let thread = scope.spawn(|| panic!("in a scope"));
            resume_unwind(thread.join().unwrap_err())
        }),
        "an unwrap" => {
            let _ = on_a_thread(|| panic!("ignored"));
            how.find('#').unwrap() as u64
        }
        "one in drop" => {
            let _quiet = Quiet;
            panic!("outside of drop")
        }
        "without the hook" => {
            let _ = catch_unwind(|| panic!("with the hook"));
            resume_unwind(Box::new("without the hook"))
        }
        "caught before" => {
            let _ = catch_unwind(|| panic!("caught before"));
            7
        }
        "a number" => panic_any(-7_i64),
        "a boxed payload" => {
            let payload = on_a_thread(|| panic!("in a box"));
            panic_any(payload)
        }
        "a boxed str" => panic_any(Box::<str>::from("boxed")),
        "an error" => panic_any(std::io::Error::other("an error's text")),
        "a boxed error" => {
            let error: Box<dyn std::error::Error + Send + Sync> = "a boxed error's text".into();
            panic_any(error)
        }
        "opaque" => panic_any(Opaque),
        other => panic!("{other}"),
    }
}

fn line_of(marker: &str) -> String {
    let source = include_str!("panics.rs");
    let line = source
        .lines()
        .position(|line| line.contains(marker) && !line.contains("line_of"))
        .unwrap();
    format!("panics.rs:{}:", line + 1)
}

fn panicked<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> Panic {
    match result {
        Err(CallError::Panicked(panic, context)) => {
            assert_eq!(context.attempts().len(), 1);
            panic
        }
        other => panic!("{other:?}"),
    }
}

#[retry_runtime::test]
fn the_panic_that_ended_the_call_is_reported() {
    fixture(LIMIT, serves, || {
        for (how, message, place) in [
            ("another thread's", "b", Some("panic!(\"b\")")),
            (
                "another thread's formatted",
                "number 2",
                Some("panic!(\"number {}\", 2)"),
            ),
            ("an older one", "older 1", Some("panic!(\"older {}\", 1)")),
            (
                "an older one with the same text",
                "same 31",
                Some("let older = catch_unwind(|| panic!(\"same {}\", how.len()))"),
            ),
            // The two cannot be told apart, and are not confused.
            ("one of two literals", "the same literal", None),
            ("a scope's", "in a scope", Some("panic!(\"in a scope\")")),
            (
                "an unwrap",
                "called `Option::unwrap()` on a `None` value",
                Some("            how.find('#').unwrap()"),
            ),
            (
                "one in drop",
                "outside of drop",
                Some("panic!(\"outside of drop\")"),
            ),
            ("without the hook", "without the hook", None),
            (
                "anything else",
                "anything else",
                Some("panic!(\"{other}\"),"),
            ),
        ] {
            let panic = panicked(panics.remote(text(how)).wait());
            assert_eq!(panic.message(), message);
            let expected = place.map(line_of);
            match (panic.location(), expected) {
                (Some(location), Some(expected)) => {
                    assert!(
                        location.contains(&expected),
                        "{how}: {location}, not {expected}"
                    );
                }
                (location, expected) => assert_eq!(location, expected.as_deref(), "{how}"),
            }
        }
        assert_eq!(panics.remote(text("caught before")).wait().unwrap(), 7);
    });
}

#[retry_runtime::test]
fn a_payload_that_is_not_text_is_named() {
    fixture(LIMIT, serves, || {
        for (how, message) in [
            ("a number", "the payload is not text, but -7 of type `i64`"),
            ("a boxed payload", "in a box"),
            ("a boxed str", "boxed"),
            (
                "an error",
                "the payload is not text, but of type `std::io::Error`: an error's text",
            ),
            (
                "a boxed error",
                "the payload is not text, but of type `Box<dyn Error + Send + Sync>`: a boxed \
                 error's text",
            ),
            (
                "opaque",
                "the payload is not text, and its type is not known (Box<dyn Any>)",
            ),
        ] {
            let panic = panicked(panics.remote(text(how)).wait());
            assert_eq!(panic.message(), message);
            assert!(panic.location().is_some(), "{panic}");
        }
    });
}

#[function(concurrency = 4)]
async fn panics_later(how: String) -> u64 {
    tokio::task::yield_now().await;
    match &*how {
        "a blocking task's" => {
            let _ = catch_unwind(|| panic!("a"));
            let task = tokio::task::spawn_blocking(|| panic!("in a blocking task"));
            resume_unwind(task.await.unwrap_err().into_panic())
        }
        "an older one's" => {
            let older = catch_unwind(|| panic!("before the await {}", 1)).unwrap_err();
            tokio::task::yield_now().await;
            let _ = catch_unwind(|| panic!("after the await"));
            tokio::task::yield_now().await;
            resume_unwind(older)
        }
        other => panic!("{other}"),
    }
}

#[function(batch(max_size = 4, max_wait = "1ms"))]
fn panics_in_a_batch(inputs: Vec<u64>) -> Vec<u64> {
    let _ = catch_unwind(|| panic!("a"));
    let inputs = AssertUnwindSafe(inputs);
    match thread::spawn(move || assert!(inputs.is_empty(), "in a batch")).join() {
        Ok(()) => Vec::new(),
        Err(payload) => resume_unwind(payload),
    }
}

struct Service;

#[retry_runtime::service(max_workers = 1)]
impl Service {
    #[setup]
    fn new(fails: bool) -> Self {
        let _ = catch_unwind(|| panic!("a"));
        if fails {
            resume_unwind(on_a_thread(|| panic!("in the constructor")));
        }
        Self
    }

    #[method]
    fn panics(&self) -> u64 {
        resume_unwind(on_a_thread(|| panic!("in a method")))
    }
}

#[retry_runtime::test]
fn functions_of_every_kind_report_the_right_panic() {
    fixture(LIMIT, serves, || {
        let check = |panic: &Panic, message: &str, marker: &str| {
            assert_eq!(panic.message(), message);
            let location = panic.location().unwrap();
            assert!(location.contains(&line_of(marker)), "{location}");
        };
        let panic = panicked(panics_later.remote(text("a blocking task's")).wait());
        check(
            &panic,
            "in a blocking task",
            "panic!(\"in a blocking task\")",
        );
        let panic = panicked(panics_later.remote(text("an older one's")).wait());
        check(
            &panic,
            "before the await 1",
            "panic!(\"before the await {}\", 1)",
        );
        let panic = panicked(panics_in_a_batch.remote(5).wait());
        check(&panic, "in a batch", "\"in a batch\")");
        let panic = panicked(Service::with(false).panics.remote().wait());
        check(&panic, "in a method", "panic!(\"in a method\")");
        match Service::with(true).panics.remote().wait() {
            Err(CallError::Startup(Startup::SetUp(text), _)) => {
                let place = line_of("panic!(\"in the constructor\")");
                assert!(text.contains("panicked: in the constructor"), "{text}");
                assert!(text.contains(&place), "{text}");
            }
            other => panic!("{other:?}"),
        }
    });
}

fn replaces_the_hook() -> u64 {
    // Libraries for panic reports do the same: they drop the previous hook.
    std::panic::set_hook(Box::new(|info| eprintln!("a hook of my own: {info}")));
    1
}

#[function(setup = replaces_the_hook, max_workers = 1)]
fn panics_under_a_hook(state: &u64, message: String) -> u64 {
    assert!(*state == 0, "{message}");
    0
}

fn removes_the_hook() -> u64 {
    drop(std::panic::take_hook());
    1
}

#[function(setup = removes_the_hook, max_workers = 1)]
fn panics_under_no_hook(state: &u64, message: String) -> u64 {
    assert!(*state == 0, "{message}");
    0
}

/// Installs a hook in its first call.
#[function(max_workers = 1)]
fn panics_under_a_late_hook(message: Option<String>) -> u64 {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        replaces_the_hook();
    });
    match message {
        None => 0,
        Some(message) => panic!("{message}"),
    }
}

#[retry_runtime::test]
fn a_hook_of_the_programs_own_hides_no_location() {
    fixture(LIMIT, serves, || {
        for _ in 0..2 {
            match panics_under_a_hook.remote(text("under a hook")).wait() {
                Err(CallError::Panicked(panic, context)) => {
                    assert_eq!(panic.message(), "under a hook");
                    assert!(panic.location().unwrap().contains("panics.rs"), "{panic}");
                    let tail = context.stderr_tail();
                    assert!(tail.contains("a hook of my own"), "{tail}");
                }
                other => panic!("{other:?}"),
            }
            let panic = panicked(panics_under_no_hook.remote(text("no hook")).wait());
            assert!(panic.location().unwrap().contains("panics.rs"), "{panic}");
        }
        assert_eq!(panics_under_a_late_hook.remote(None).wait().unwrap(), 0);
        let panic = panicked(panics_under_a_late_hook.remote(Some(text("late"))).wait());
        assert!(panic.location().unwrap().contains("panics.rs"), "{panic}");
    });
}

/// Replaces the hook in each call, so that the library does not see the panic of this call.
#[function(max_workers = 1)]
fn panics_unseen() -> u64 {
    replaces_the_hook();
    panic!("unseen")
}

#[retry_runtime::test]
fn a_location_that_is_not_known_is_not_given() {
    fixture(LIMIT, serves, || {
        for _ in 0..3 {
            let panic = panicked(panics_unseen.remote().wait());
            assert_eq!((panic.message(), panic.location()), ("unseen", None));
            assert_eq!(panic.to_string(), "unseen (location unknown)");
        }
    });
}

fn slow_hook() -> u64 {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        previous(info);
        thread::sleep(SLOW);
    }));
    0
}

/// The time that it takes to report a failure, and the limit on attempts.
const SLOW: Duration = Duration::from_millis(1500);
const SHORT: Duration = Duration::from_millis(400);

#[function(setup = slow_hook, timeout = SHORT, max_workers = 1, retries = Retries::fixed(1, Duration::ZERO))]
fn panics_slowly(_state: &u64, how: String) -> u64 {
    match &*how {
        "at once" => panic!("at once"),
        "on a thread" => resume_unwind(on_a_thread(|| panic!("on a thread"))),
        "and goes on" => {
            let _ = catch_unwind(|| panic!("caught"));
            7
        }
        _ => loop {
            let _ = catch_unwind(|| panic!("caught"));
            thread::sleep(Duration::from_secs(60));
        },
    }
}

#[function(setup = slow_hook, timeout = SHORT, concurrency = 2)]
async fn panics_slowly_later(_state: &u64) -> u64 {
    tokio::task::yield_now().await;
    panic!("later")
}

struct SlowError;

impl std::fmt::Display for SlowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("slow")
    }
}

impl std::fmt::Debug for SlowError {
    /// Simulates an error whose backtrace has to be resolved.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        thread::sleep(SLOW);
        f.write_str("slow in all detail")
    }
}

#[function(timeout = SHORT)]
fn fails_slowly() -> Result<u64, SlowError> {
    Err(SlowError)
}

#[retry_runtime::test]
fn the_time_of_a_report_is_not_the_attempts() {
    fixture(LIMIT, serves, || {
        for how in ["at once", "on a thread"] {
            match panics_slowly.remote(text(how)).wait() {
                Err(CallError::Panicked(panic, context)) => {
                    assert_eq!(panic.message(), how);
                    assert_eq!(context.attempts().len(), 2);
                    for attempt in context.attempts() {
                        assert_eq!(attempt.outcome, AttemptOutcome::Panicked);
                        assert!(attempt.duration < SLOW, "{attempt:?}");
                    }
                    let pids: Vec<_> = context
                        .attempts()
                        .iter()
                        .map(|one| one.worker_pid)
                        .collect();
                    assert_ne!(pids[0], pids[1], "a retry has a clean worker");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(panics_slowly.remote(text("and goes on")).wait().unwrap(), 7);
        let panic = panicked(panics_slowly_later.remote().wait());
        assert_eq!(panic.message(), "later");
        match fails_slowly.remote().wait() {
            Err(CallError::Function(error, context)) => {
                assert_eq!(format!("{error:?}"), "slow in all detail");
                assert!(context.attempts()[0].duration < SLOW);
            }
            other => panic!("{other:?}"),
        }
        let inline = Runtime::builder().inline().build().unwrap();
        let error = panics_slowly.on(&inline).remote(text("at once")).wait();
        assert!(matches!(error, Err(CallError::Panicked(..))), "{error:?}");
        inline.shutdown(Duration::from_secs(5)).wait();
        // The clock keeps running after a panic that the function caught.
        match panics_slowly.remote(text("and hangs")).wait() {
            Err(CallError::TimedOut(_, context)) => {
                for attempt in context.attempts() {
                    assert!(attempt.duration >= SHORT, "{attempt:?}");
                    assert!(attempt.duration < Duration::from_secs(30), "{attempt:?}");
                }
            }
            other => panic!("{other:?}"),
        }
    });
}

fn hangs_in_the_hook() -> u64 {
    std::panic::set_hook(Box::new(|_| thread::sleep(Duration::from_secs(3600))));
    0
}

#[function(setup = hangs_in_the_hook, timeout = SHORT)]
fn panics_for_ever(_state: &u64) -> u64 {
    panic!("for ever")
}

#[retry_runtime::test]
fn a_hook_that_hangs_does_not_outlive_the_timeout_for_long() {
    fixture(LIMIT, serves, || {
        let error = panics_for_ever.remote().wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
    });
}

fn exits_in_the_hook() -> u64 {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        previous(info);
        std::process::exit(1);
    }));
    0
}

/// Panics on this thread, or first on another one; the hook then exits the process.
#[function(setup = exits_in_the_hook)]
fn panics_and_exits(_state: &u64, on_another: bool) -> u64 {
    if on_another {
        let _ = on_a_thread(|| panic!("the end"));
    }
    panic!("the end")
}

#[function(setup = exits_in_the_hook, concurrency = 3, max_workers = 1)]
async fn panics_and_exits_beside_others(_state: &u64, input: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(input != 1, "the end of one");
    tokio::time::sleep(Duration::from_millis(300)).await;
    input
}

#[retry_runtime::test]
fn a_panic_whose_hook_ends_the_process_is_a_panic() {
    fixture(LIMIT, serves, || {
        for on_another in [false, true] {
            let panic = panicked(panics_and_exits.remote(on_another).wait());
            assert_eq!(panic.message(), "the end");
            assert!(panic.location().unwrap().contains("panics.rs"), "{panic}");
        }
        // No other input is blamed for the panic.
        let results = panics_and_exits_beside_others.map(0..3).into_iter();
        for (input, result) in (0..).zip(results) {
            if input == 1 {
                assert_eq!(panicked(result).message(), "the end of one");
            } else {
                assert_eq!(result.unwrap(), input);
            }
        }
    });
}

#[retry_runtime::test]
fn inline_workers_report_the_right_panic() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().inline().build().unwrap();
        let panic = panicked(panics.on(&runtime).remote(text("another thread's")).wait());
        assert_eq!(panic.message(), "b");
        assert!(panic.location().unwrap().contains("panics.rs"), "{panic}");
        let panic = panicked(panics.on(&runtime).remote(text("without the hook")).wait());
        assert_eq!(
            (panic.message(), panic.location()),
            ("without the hook", None)
        );
        runtime.shutdown(Duration::from_secs(5)).wait();
    });
}

// ------------------------------------------------------------------------- state after a panic

static TABLE: Mutex<u64> = Mutex::new(0);

static LAZY: LazyLock<u64> = LazyLock::new(|| {
    assert!(is_retry(), "the original cause");
    7
});

fn is_retry() -> bool {
    retry_runtime::current().is_some_and(|current| current.attempt() > 1)
}

/// Panics at the first attempt while it holds a lock, for some of the inputs.
fn poison(number: u64) -> u32 {
    let mut table = TABLE.lock().expect("the table is whole");
    *table += 1;
    assert!(
        !number.is_multiple_of(10) || is_retry(),
        "the original cause"
    );
    std::process::id()
}

#[function(retries = Retries::fixed(2, Duration::ZERO), max_workers = 2)]
fn poisons(number: u64) -> u32 {
    poison(number)
}

#[function(retries = Retries::fixed(2, Duration::ZERO), max_workers = 1)]
fn poisons_a_lazy_lock(_number: u64) -> u64 {
    *LAZY
}

#[function(retries = Retries::fixed(2, Duration::ZERO), max_workers = 2, concurrency = 4)]
async fn poisons_while_others_wait(number: u64) -> u32 {
    tokio::task::yield_now().await;
    poison(number)
}

#[function(
    retries = Retries::fixed(2, Duration::ZERO),
    max_workers = 2,
    batch(max_size = 4)
)]
fn poisons_a_batch(numbers: Vec<u64>) -> Vec<u32> {
    numbers.into_iter().map(poison).collect()
}

struct Poisoned(Mutex<u64>);

#[service(max_workers = 1)]
impl Poisoned {
    #[setup]
    fn new() -> Self {
        Self(Mutex::new(0))
    }

    #[method(retries = Retries::fixed(2, Duration::ZERO))]
    fn add(&self, number: u64) -> u64 {
        let mut sum = self.0.lock().expect("the sum is whole");
        assert!(
            !number.is_multiple_of(10) || is_retry(),
            "the original cause"
        );
        *sum += number;
        number
    }

    /// The same, where attempts are not numbered.
    #[method(retries = Retries::fixed(2, Duration::ZERO))]
    fn add_inline(&self, number: u64) -> u64 {
        static IS_RETRY: AtomicBool = AtomicBool::new(false);
        let mut sum = self.0.lock().expect("the sum is whole");
        assert!(IS_RETRY.swap(true, Ordering::Relaxed), "the original cause");
        *sum += number;
        number
    }
}

#[retry_runtime::test]
fn a_retry_does_not_find_the_remains_of_a_panic() {
    fixture(LIMIT, serves, || {
        assert!(poisons.remote(0).wait().is_ok());
        assert_eq!(poisons_a_lazy_lock.remote(0).wait().unwrap(), 7);
        assert!(poisons_while_others_wait.remote(0).wait().is_ok());
        assert!(poisons_a_batch.remote(0).wait().is_ok());
        assert_eq!(Poisoned::with().add.remote(0).wait().unwrap(), 0);
        // First attempts of other inputs may find a poisoned lock; their retries do not.
        for result in poisons.map(0..200) {
            result.unwrap();
        }
        for result in poisons_while_others_wait.map(0..200) {
            result.unwrap();
        }
        for result in poisons_a_batch.map(0..200) {
            result.unwrap();
        }
        for (number, result) in (0..200).zip(Poisoned::with().add.map(0..200)) {
            assert_eq!(result.unwrap(), number);
        }
        // An inline worker also has a state of its own.
        let inline = Runtime::builder().inline().build().unwrap();
        let service = Poisoned::with().on(&inline);
        assert_eq!(service.add_inline.remote(10).wait().unwrap(), 10);
        inline.shutdown(Duration::from_secs(5)).wait();
    });
}

#[function(retries = Retries::fixed(3, Duration::ZERO), max_workers = 2)]
fn always_poisons(_number: u64) -> u32 {
    let _table = TABLE.lock().expect("the table is whole");
    panic!("the original cause");
}

#[retry_runtime::test]
fn each_attempt_after_a_panic_has_a_process_of_its_own() {
    fixture(LIMIT, serves, || {
        let error = always_poisons.remote(1).wait().unwrap_err();
        let attempts = error.context().attempts();
        let pids: BTreeSet<_> = attempts.iter().map(|attempt| attempt.worker_pid).collect();
        assert_eq!((attempts.len(), pids.len()), (4, 4), "{error:?}");
        for attempt in attempts {
            assert_eq!(attempt.error.as_deref(), Some("the original cause"));
        }
    });
}

#[function(max_workers = 1, concurrency = 8)]
async fn poisons_whenever_it_runs(number: u64) -> u64 {
    tokio::task::yield_now().await;
    let _table = TABLE.lock().expect("the table is whole");
    assert!(number != 13, "the original cause");
    number
}

/// Inputs that are executed together see the remains of a panic at the same time. Only the one that has panicked by
/// itself fails for good, however often it does so.
#[retry_runtime::test]
fn a_panic_costs_the_inputs_beside_it_no_result() {
    fixture(LIMIT, serves, || {
        for retries in [1, 3].repeat(5) {
            let policy = Retries::fixed(retries, Duration::from_millis(1));
            let results = poisons_whenever_it_runs.map(0..40).retries(policy);
            for (number, result) in (0..40).zip(results) {
                match (number, result) {
                    (13, Err(error)) => {
                        // The last attempt of the map before may have left a worker behind. What fails because of that
                        // costs no attempt.
                        let attempts = error.context().attempts().iter();
                        let (own, others): (Vec<_>, Vec<_>) = attempts
                            .filter_map(|attempt| attempt.error.as_deref())
                            .partition(|text| *text == "the original cause");
                        assert_eq!(own.len(), retries as usize + 1, "{error:?}");
                        let is_remains = |text: &&str| text.starts_with("the table is whole");
                        assert!(others.iter().all(is_remains), "{error:?}");
                    }
                    (_, result) => assert_eq!(result.unwrap(), number),
                }
            }
        }
    });
}

#[function(max_workers = 1)]
fn panics_without_retries(number: u64) -> u32 {
    assert!(number.is_multiple_of(2), "odd");
    std::process::id()
}

#[retry_runtime::test]
fn a_panic_without_retries_keeps_its_worker() {
    fixture(LIMIT, serves, || {
        let results = panics_without_retries.map(0..100).into_iter();
        let pids: BTreeSet<u32> = results.flatten().collect();
        assert_eq!(pids.len(), 1);
    });
}
