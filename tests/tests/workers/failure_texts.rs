//! Failure texts larger than a message may be: they are truncated, reported once, and cost no worker.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use retry_runtime::{
    CallError, Lost, Rejected, RemoteError, Retries, Retry, Retryable, Runtime, Startup, function,
    service,
};
use retry_tests::fixture;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

/// The limits on messages: the smallest one, one of the size of a page, and a large one.
const LIMITS: [usize; 3] = [64, 4096, 64 * 1024];

/// The number of executions in this worker.
static RUNS: AtomicU64 = AtomicU64::new(0);

fn runs() -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Returns lengths around a limit, and far above it.
fn lengths(limit: usize) -> impl Iterator<Item = usize> {
    let near = (limit.saturating_sub(60)..limit + 9).step_by(3);
    near.chain([10 * limit, 3_000_000])
}

fn on(limit: usize) -> Runtime {
    let builder = Runtime::builder().max_message(limit);
    // Resolving a backtrace for each panic would be slow.
    builder.env("RUST_BACKTRACE", "0").build().unwrap()
}

/// Asserts that a text equals `whole`, or is its beginning with a note.
fn assert_excerpt(text: &str, whole: &str, limit: usize) {
    assert!(text.len() <= limit, "{} > {limit}", text.len());
    if text != whole {
        let (head, _) = text.split_once([' ', '.']).expect(text);
        assert!(whole.starts_with(head), "{text}");
        assert!(text.contains("..."), "{text}");
        if limit >= 4096 {
            assert!(
                text.contains(&format!("of {} bytes left out", whole.len())),
                "{text}"
            );
            assert!(text.len() > limit / 4, "{}", text.len());
        }
    }
}

#[function(max_workers = 1)]
fn panics(length: usize, of: char) -> u64 {
    let runs = runs();
    assert!(length == 0, "{}", of.to_string().repeat(length));
    runs
}

#[function(max_workers = 1, concurrency = 2)]
async fn panics_later(length: usize) -> u64 {
    let runs = runs();
    assert!(length == 0, "{}", "p".repeat(length));
    runs
}

#[function(max_workers = 1, batch(max_size = 2, max_wait = "1ms"))]
fn panics_in_a_batch(lengths: Vec<usize>) -> Vec<u64> {
    let runs = runs();
    assert!(lengths == [0], "{}", "p".repeat(lengths[0]));
    vec![runs]
}

fn assert_panicked(
    result: Result<u64, CallError<std::convert::Infallible>>,
    of: &str,
    limit: usize,
) {
    match result {
        Err(CallError::Panicked(panic, context)) => {
            assert_excerpt(panic.message(), of, limit);
            assert_eq!(context.attempts().len(), 1);
            if limit >= 4096 {
                assert!(
                    panic.location().unwrap().contains("failure_texts.rs"),
                    "{panic:?}"
                );
            }
        }
        other => panic!("{other:?}"),
    }
}

#[retry_runtime::test]
fn a_panic_of_any_length_is_told_once() {
    fixture(LIMIT, serves, || {
        for limit in LIMITS {
            let runtime = on(limit);
            let mut calls = 0;
            for (length, of) in lengths(limit).zip(['p', 'ä', '€', '🦀'].into_iter().cycle()) {
                let result = panics.on(&runtime).remote(length, of).wait();
                assert_panicked(result, &of.to_string().repeat(length), limit);
                let result = panics_later.on(&runtime).remote(length).wait();
                assert_panicked(result, &"p".repeat(length), limit);
                let result = panics_in_a_batch.on(&runtime).remote(length).wait();
                assert_panicked(result, &"p".repeat(length), limit);
                calls += 1;
            }
            calls += 1;
            // The same worker has served all of these calls.
            assert_eq!(panics.on(&runtime).remote(0, 'p').wait().unwrap(), calls);
            assert_eq!(panics_later.on(&runtime).remote(0).wait().unwrap(), calls);
            assert_eq!(
                panics_in_a_batch.on(&runtime).remote(0).wait().unwrap(),
                calls
            );
            runtime.shutdown(LIMIT).wait();
        }
    });
}

#[retry_runtime::test]
fn a_comparison_of_two_large_vectors_is_told_with_both_ends() {
    fixture(LIMIT, serves, || {
        let runtime = on(64 * 1024);
        match compares.on(&runtime).remote(100_000).wait() {
            Err(CallError::Panicked(panic, context)) => {
                assert_eq!(context.attempts().len(), 1);
                let message = panic.message();
                let begin = "assertion `left == right` failed: they differ\n  left: [0, 1, 2,";
                assert!(message.starts_with(begin), "{}", &message[..200]);
                assert!(message.ends_with("99998, 99999, 7]"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        runtime.shutdown(LIMIT).wait();
    });
}

#[function]
fn compares(length: u32) -> u64 {
    let left: Vec<u32> = (0..length).collect();
    let mut right = left.clone();
    right.push(7);
    assert_eq!(left, right, "they differ");
    0
}

/// An error that serde cannot encode, with a source.
#[derive(Debug)]
struct Report {
    text: String,
    source: Option<Box<Report>>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Report {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[function(max_workers = 1)]
fn reports(length: usize) -> Result<u64, Report> {
    let runs = runs();
    if length == 0 {
        return Ok(runs);
    }
    Err(Report {
        text: "short".to_owned(),
        source: Some(Box::new(Report {
            text: "e".repeat(length),
            source: None,
        })),
    })
}

#[function(max_workers = 1)]
fn reports_through_anyhow(length: usize) -> anyhow::Result<u64> {
    let runs = runs();
    if length == 0 {
        return Ok(runs);
    }
    Err(anyhow::anyhow!("{}", "e".repeat(length)).context("short"))
}

fn assert_reported(result: Result<u64, CallError<RemoteError>>, length: usize, limit: usize) {
    match result {
        Err(CallError::Function(error, context)) => {
            assert_eq!(context.attempts().len(), 1);
            assert_eq!(error.to_string(), "short");
            if limit >= 4096 {
                let chain: Vec<_> = error.chain().collect();
                assert_eq!(chain.len(), 2);
                assert_excerpt(chain[1], &"e".repeat(length), limit);
            }
        }
        other => panic!("{other:?}"),
    }
}

#[retry_runtime::test]
fn an_error_text_of_any_length_is_told_once() {
    fixture(LIMIT, serves, || {
        for limit in LIMITS {
            let runtime = on(limit);
            let mut calls = 1;
            for length in lengths(limit).filter(|length| *length > 0) {
                let result = reports.on(&runtime).remote(length).wait();
                assert_reported(result, length, limit);
                let result = reports_through_anyhow.on(&runtime).remote(length).wait();
                assert_reported(result, length, limit);
                calls += 1;
            }
            assert_eq!(reports.on(&runtime).remote(0).wait().unwrap(), calls);
            let reported = reports_through_anyhow.on(&runtime).remote(0).wait();
            assert_eq!(reported.unwrap(), calls);
            runtime.shutdown(LIMIT).wait();
        }
    });
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("typed")]
struct Typed(String);

#[derive(Debug, Serialize, Deserialize)]
struct Later(String);

impl Retryable for Later {
    fn retry(&self) -> Retry {
        Retry::After(Duration::ZERO)
    }
}

/// The overhead of an encoded text: its length and its shape.
const AROUND: usize = 12;

#[function(max_workers = 1, retries = Retries::fixed(2, Duration::ZERO))]
fn fails(length: usize) -> Result<u64, Typed> {
    match length {
        0 => Ok(runs()),
        length => {
            runs();
            Err(Typed("t".repeat(length - AROUND)))
        }
    }
}

#[function(max_workers = 1, retries = Retries::fixed(2, Duration::ZERO))]
fn fails_until_later(length: usize) -> Result<u64, Later> {
    match length {
        0 => Ok(runs()),
        length => {
            runs();
            Err(Later("t".repeat(length - AROUND)))
        }
    }
}

#[retry_runtime::test]
fn a_typed_error_above_the_limit_is_told_with_its_size() {
    fixture(LIMIT, serves, || {
        for most in LIMITS {
            let runtime = on(most);
            let mut calls = 1;
            for length in lengths(most).filter(|length| *length > AROUND) {
                match fails.on(&runtime).remote(length).wait() {
                    Err(CallError::Function(Typed(text), context)) if length <= most => {
                        assert_eq!(text.len(), length - AROUND);
                        assert_eq!(context.attempts().len(), 3);
                        calls += 3;
                    }
                    Err(error @ CallError::Lost(..)) if length > most => {
                        let expected = format!("returned an error of {length} bytes");
                        assert!(error.to_string().contains(&expected), "{error}");
                        assert!(!error.did_not_run());
                        assert_eq!(error.context().attempts().len(), 1);
                        let CallError::Lost(Lost::ErrorTooLarge { size, limit }, _) = error else {
                            panic!("{error:?}");
                        };
                        assert_eq!((size, limit), (length as u64, most));
                        calls += 1;
                    }
                    other => panic!("{length} of {most}: {other:?}"),
                }
            }
            assert_eq!(fails.on(&runtime).remote(0).wait().unwrap(), calls);
            // The delay requested by an error takes another 8 bytes.
            let fits = fails_until_later.on(&runtime).remote(most - 8).wait();
            assert!(matches!(fits, Err(CallError::Function(..))), "{fits:?}");
            let error = fails_until_later.on(&runtime).remote(most - 7).wait();
            assert!(
                matches!(error, Err(CallError::Lost(Lost::ErrorTooLarge { .. }, _))),
                "{error:?}"
            );
            assert_eq!(fails_until_later.on(&runtime).remote(0).wait().unwrap(), 5);
            runtime.shutdown(LIMIT).wait();
        }
    });
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{}", "word ".repeat(30))]
struct Wordy;

#[function(max_workers = 1, retries = Retries::fixed(2, Duration::ZERO))]
fn fails_in_many_words(fail: bool) -> Result<u64, Wordy> {
    let runs = runs();
    if fail { Err(Wordy) } else { Ok(runs) }
}

#[retry_runtime::test]
fn a_small_error_may_have_a_text_above_the_limit() {
    fixture(LIMIT, serves, || {
        let runtime = on(64);
        let error = fails_in_many_words.on(&runtime).remote(true).wait();
        let error = error.unwrap_err();
        assert!(matches!(error, CallError::Function(Wordy, _)), "{error:?}");
        assert_eq!(error.context().attempts().len(), 3);
        // One worker has served all of these calls.
        let runs = fails_in_many_words.on(&runtime).remote(false).wait();
        assert_eq!(runs.unwrap(), 4);
    });
}

/// A value whose type refuses to be serialized with a long message.
struct Unsendable(usize);

impl Serialize for Unsendable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => to.serialize_u64(0),
            length => Err(ser::Error::custom("s".repeat(length))),
        }
    }
}

impl<'de> Deserialize<'de> for Unsendable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(|_| Self(0))
    }
}

/// A value whose type refuses to be deserialized with a long message.
struct Unreceivable(usize);

impl Serialize for Unreceivable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0 as u64)
    }
}

impl<'de> Deserialize<'de> for Unreceivable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match usize::deserialize(from)? {
            length if length > 0 && std::env::var_os("RETRY_WORKER").is_some() => {
                Err(de::Error::custom("d".repeat(length)))
            }
            _ => Ok(Self(0)),
        }
    }
}

#[function(max_workers = 1)]
fn returns_unsendable(length: usize) -> (u64, Unsendable) {
    (runs(), Unsendable(length))
}

#[function(max_workers = 1)]
fn takes_unreceivable(argument: Unreceivable) -> u64 {
    let _ = argument;
    runs()
}

#[retry_runtime::test]
fn an_encoding_or_decoding_error_of_any_length_is_told() {
    fixture(LIMIT, serves, || {
        for limit in LIMITS {
            let runtime = on(limit);
            let mut calls = 1;
            for length in lengths(limit).filter(|length| *length > 0) {
                match returns_unsendable.on(&runtime).remote(length).wait() {
                    Err(CallError::Lost(Lost::NotEncodable { reason }, _)) => {
                        assert!(reason.len() <= limit && reason.contains('s'), "{reason}");
                    }
                    Err(other) => panic!("{other:?}"),
                    Ok(_) => panic!("it cannot be sent"),
                }
                match takes_unreceivable
                    .on(&runtime)
                    .remote(Unreceivable(length))
                    .wait()
                {
                    Err(CallError::Rejected(Rejected::NotDecodable { reason, .. }, _)) => {
                        assert!(reason.len() <= limit && reason.contains('d'), "{reason}");
                    }
                    other => panic!("{other:?}"),
                }
                calls += 1;
            }
            let (runs, _) = returns_unsendable.on(&runtime).remote(0).wait().unwrap();
            assert_eq!(runs, calls);
            let runs = takes_unreceivable
                .on(&runtime)
                .remote(Unreceivable(0))
                .wait();
            assert_eq!(runs.unwrap(), 1, "it ran once, in its first worker");
            runtime.shutdown(LIMIT).wait();
        }
    });
}

fn length_of_this_run() -> usize {
    std::env::var("LENGTH").unwrap().parse().unwrap()
}

fn refuses() -> Result<u64, String> {
    Err("r".repeat(length_of_this_run()))
}

#[function(setup = refuses)]
fn refuses_in_setup(state: &u64) -> u64 {
    *state
}

fn panicking() -> u64 {
    panic!("{}", "r".repeat(length_of_this_run()))
}

#[function(setup = panicking)]
fn panics_in_setup(state: &u64) -> u64 {
    *state
}

struct Refused;

#[service]
impl Refused {
    #[setup]
    fn new(length: usize) -> Result<Self, String> {
        Err("r".repeat(length))
    }

    #[method]
    fn never(&self) -> u64 {
        0
    }
}

#[retry_runtime::test]
fn a_set_up_that_fails_is_told_at_any_length() {
    fixture(LIMIT, serves, || {
        for limit in LIMITS {
            for length in [limit - 1, limit, limit + 1, 1_000_000] {
                let runtime = Runtime::builder()
                    .max_message(limit)
                    .env("LENGTH", length.to_string())
                    .build()
                    .unwrap();
                let texts = [
                    refuses_in_setup.on(&runtime).remote().wait(),
                    panics_in_setup.on(&runtime).remote().wait(),
                    Refused::with(length).on(&runtime).never.remote().wait(),
                ];
                for result in texts {
                    match result {
                        Err(CallError::Startup(Startup::SetUp(text), _)) => {
                            assert!(text.len() <= limit && text.contains('r'), "{text}");
                        }
                        other => panic!("{length} of {limit}: {other:?}"),
                    }
                }
                runtime.shutdown(LIMIT).wait();
            }
        }
    });
}

#[function]
fn outer(length: usize) -> Result<(usize, u64), String> {
    match panics.remote(length, 'p').wait() {
        Err(CallError::Panicked(panic, _)) => {
            let again = panics.remote(0, 'p').wait();
            Ok((
                panic.message().len(),
                again.map_err(|error| error.to_string())?,
            ))
        }
        other => Err(format!("{other:?}")),
    }
}

#[retry_runtime::test]
fn a_nested_call_hears_of_a_panic_of_any_length() {
    fixture(LIMIT, serves, || {
        // More than a message of the connection for nested calls once had room for.
        let length = 40 << 20;
        let runtime = on(256 << 20);
        assert_eq!(
            outer.on(&runtime).remote(length).wait().unwrap(),
            (length, 2)
        );
        runtime.shutdown(LIMIT).wait();
        let runtime = on(4096);
        let (shown, runs) = outer.on(&runtime).remote(length).wait().unwrap();
        assert!(shown <= 4096 && runs == 2, "{shown} bytes, {runs} runs");
        runtime.shutdown(LIMIT).wait();
    });
}

#[function]
fn measures(text: String) -> usize {
    text.len()
}

#[function(max_workers = 1)]
fn measures_in_a_map(length: usize) -> Result<usize, String> {
    runs();
    let texts = (0..20).map(|_| "x".repeat(length));
    let lengths = measures.map(texts).into_iter();
    lengths
        .map(|length| length.map_err(|error| error.to_string()))
        .sum()
}

#[retry_runtime::test]
fn inputs_of_a_nested_map_may_exceed_the_limit_together() {
    fixture(LIMIT, serves, || {
        let runtime = on(64);
        let sum = measures_in_a_map.on(&runtime).remote(40).wait();
        assert_eq!(sum.unwrap(), 800);
        runtime.shutdown(LIMIT).wait();
        // A worker applies the limit that was in effect when it was started.
        assert_eq!(measures_in_a_map.remote(4000).wait().unwrap(), 80_000);
        retry_runtime::set_max_message(1000);
        let sum = measures_in_a_map.remote(4000).wait();
        retry_runtime::set_max_message(256 << 20);
        assert_eq!(sum.unwrap(), 80_000);
    });
}

#[retry_runtime::test]
fn inline_workers_shorten_texts_as_well() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder()
            .inline()
            .max_message(4096)
            .build()
            .unwrap();
        let length = 100_000;
        let result = panics.on(&runtime).remote(length, 'p').wait();
        assert_panicked(result, &"p".repeat(length), 4096);
        assert_reported(reports.on(&runtime).remote(length).wait(), length, 4096);
        let error = fails.on(&runtime).remote(length).wait().unwrap_err();
        assert!(
            matches!(error, CallError::Lost(Lost::ErrorTooLarge { .. }, _)),
            "{error:?}"
        );
        runtime.shutdown(LIMIT).wait();
    });
}
