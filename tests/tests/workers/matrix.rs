//! The crash matrix: every way to fail, at every stage of a call where user code runs. One table states the
//! outcome for the caller.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use retry_runtime::{CallError, CrashLimit, ExitCause, Limit, Lost, Options, Rejected, function};
use retry_tests::fixture;
use rustix::process::{Signal, getpid, kill_process};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const LIMIT: Duration = Duration::from_secs(120);

/// The stage of a call at which user code fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// `Serialize` of the argument, in the parent.
    EncodeArgs,
    /// `Deserialize` of the argument, in the worker.
    DecodeArgs,
    /// The function itself.
    Run,
    /// `Drop` of the argument, in the worker.
    DropArgs,
    /// The function's `retry_if`, in the worker.
    RetryIf,
    /// `Serialize` of the result, in the worker.
    EncodeResult,
    /// `Drop` of the result, in the worker.
    DropResult,
    /// `Deserialize` of the result, in the parent.
    DecodeResult,
    /// The caller itself, while it awaits the call.
    Await,
}

/// The way in which it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    ReturnErr,
    Panic,
    PanicWithNumber,
    ExitWithZero,
    ExitWithSeven,
    Abort,
    Segv,
    Kill,
    Loop,
    Overflow,
}

use How::*;

const WAYS: [How; 10] = [
    ReturnErr,
    Panic,
    PanicWithNumber,
    ExitWithZero,
    ExitWithSeven,
    Abort,
    Segv,
    Kill,
    Loop,
    Overflow,
];

/// The outcome for the caller.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// The value: the failing code has no way to report an error.
    Value,
    /// `Function`: the function's own error.
    Own,
    /// `Rejected`: the argument cannot be encoded or decoded.
    Refused,
    /// `Lost`: the result cannot be encoded or decoded.
    Gone,
    /// `Panicked` with this message.
    Panicked(&'static str),
    /// `Crashed` with this cause.
    Exited(i32),
    Killed(i32),
    /// `Crashed` by SIGABRT, with the reason on standard error.
    StackGone,
    /// `TimedOut`, by the limit on the attempt.
    Late,
    /// The panic itself, only on the caller's thread.
    Here,
    /// No outcome: the parent dies, or the caller's own thread never returns, as the program requested. Not
    /// run.
    TheProgramItself,
}

use Cell::*;

/// Returns the row of a stage in the worker: only the outcome of an error depends on the stage.
const fn in_the_worker(error: Cell) -> [Cell; 10] {
    [
        error,
        Panicked("boom"),
        Panicked("the payload is not text, but 7 of type `i32`"),
        Exited(0),
        Exited(7),
        Killed(6),
        Killed(11),
        Killed(9),
        Late,
        StackGone,
    ]
}

const fn in_the_parent(error: Cell) -> [Cell; 10] {
    let own = TheProgramItself;
    [error, Here, Here, own, own, own, own, own, own, own]
}

/// For each stage, the columns of [`WAYS`].
const TABLE: [(Stage, [Cell; 10]); 9] = [
    (Stage::EncodeArgs, in_the_parent(Refused)),
    (Stage::DecodeArgs, in_the_worker(Refused)),
    (Stage::Run, in_the_worker(Own)),
    (Stage::DropArgs, in_the_worker(Value)),
    (Stage::RetryIf, in_the_worker(Own)),
    (Stage::EncodeResult, in_the_worker(Gone)),
    (Stage::DropResult, in_the_worker(Value)),
    (Stage::DecodeResult, in_the_parent(Gone)),
    (Stage::Await, in_the_parent(Value)),
];

/// A value that travels with a call and fails at one stage of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bomb {
    stage: Stage,
    how: How,
}

impl Bomb {
    fn at(self, stage: Stage) -> Result<(), &'static str> {
        if self.stage == stage {
            go_off(self.how)
        } else {
            Ok(())
        }
    }
}

fn go_off(how: How) -> Result<(), &'static str> {
    let signal = match how {
        ReturnErr => return Err("boom"),
        Panic => panic!("boom"),
        PanicWithNumber => std::panic::panic_any(7),
        ExitWithZero => std::process::exit(0),
        ExitWithSeven => std::process::exit(7),
        Abort => std::process::abort(),
        Segv => Signal::SEGV,
        Kill => Signal::KILL,
        Loop => loop {
            std::hint::spin_loop();
        },
        Overflow => {
            #[expect(unconditional_recursion, reason = "that is the point of it")]
            fn deeper(depth: u64) -> u64 {
                let page = std::hint::black_box([depth; 512]);
                deeper(depth + 1) + page[7]
            }
            std::process::exit(i32::try_from(deeper(0)).unwrap_or(0))
        }
    };
    // Repeat the signal: Rust's own handler of SIGSEGV lets the first one pass.
    loop {
        kill_process(getpid(), signal).expect("it is our own process");
    }
}

/// Returns whether this is a worker. In debug builds, values are also decoded in the process that encoded
/// them, to check their type.
fn in_worker() -> bool {
    retry_runtime::current().is_some()
}

#[derive(Debug)]
struct Argument(Bomb);

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.at(Stage::EncodeArgs).map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bomb = Bomb::deserialize(deserializer)?;
        if in_worker() {
            bomb.at(Stage::DecodeArgs).map_err(D::Error::custom)?;
        }
        Ok(Self(bomb))
    }
}

impl Drop for Argument {
    fn drop(&mut self) {
        if in_worker() {
            let _ = self.0.at(Stage::DropArgs);
        }
    }
}

#[derive(Debug)]
struct Outcome(Bomb);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.at(Stage::EncodeResult).map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bomb = Bomb::deserialize(deserializer)?;
        if !in_worker() {
            bomb.at(Stage::DecodeResult).map_err(D::Error::custom)?;
        }
        Ok(Self(bomb))
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if in_worker() {
            let _ = self.0.at(Stage::DropResult);
        }
    }
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("boom")]
struct Refusal(Bomb);

fn asks(refusal: &Refusal) -> bool {
    let _ = refusal.0.at(Stage::RetryIf);
    false
}

#[function(at_most_once, retry_if = asks, crash_limit = CrashLimit::unlimited())]
fn carries(argument: Argument) -> Result<Outcome, Refusal> {
    let bomb = argument.0;
    if bomb.at(Stage::Run).is_err() || bomb.stage == Stage::RetryIf {
        return Err(Refusal(bomb));
    }
    Ok(Outcome(bomb))
}

/// Checks the pool of the failing function itself.
fn serves() -> bool {
    let dud = Bomb {
        stage: Stage::Await,
        how: ReturnErr,
    };
    carries.remote(Argument(dud)).wait().is_ok()
}

fn call(bomb: Bomb) -> Result<Outcome, CallError<Refusal>> {
    let mut options = Options::new();
    if bomb.how == Loop {
        options = options.timeout(Duration::from_millis(100));
    }
    let limited = carries.with_options(options);
    if bomb.stage == Stage::Await {
        let mut call = pin!(limited.remote(Argument(bomb)));
        let mut context = Context::from_waker(Waker::noop());
        let _ = call.as_mut().poll(&mut context);
        // Unwinding drops the call while it is pending.
        let _ = go_off(bomb.how);
    }
    limited.remote(Argument(bomb)).wait()
}

fn is_as_expected(
    cell: Cell,
    stage: Stage,
    result: &std::thread::Result<Result<Outcome, CallError<Refusal>>>,
) -> bool {
    let result = match (cell, result) {
        (Here, Err(payload)) => {
            return payload.downcast_ref() == Some(&"boom") || payload.downcast_ref() == Some(&7);
        }
        (Here, Ok(_)) | (_, Err(_)) => return false,
        (_, Ok(result)) => result,
    };
    let error = match (cell, result) {
        (Value, Ok(outcome)) => return outcome.0.stage == stage,
        (Value, Err(_)) | (_, Ok(_)) => return false,
        (_, Err(error)) => error,
    };
    let attempts = error.context().attempts().len();
    match (cell, error) {
        (Own, CallError::Function(Refusal(bomb), _)) => bomb.stage == stage && attempts == 1,
        (Refused, CallError::Rejected(rejected, _)) => match (stage, rejected) {
            (Stage::EncodeArgs, Rejected::NotEncodable { parameter, reason }) => {
                &**parameter == "argument" && reason.contains("boom")
            }
            (Stage::DecodeArgs, Rejected::NotDecodable { parameter, reason }) => {
                &**parameter == "argument" && reason.contains("boom")
            }
            _ => false,
        },
        (Gone, CallError::Lost(lost, _)) => match (stage, lost) {
            (Stage::EncodeResult, Lost::NotEncodable { reason })
            | (Stage::DecodeResult, Lost::NotDecodable { reason }) => reason.contains("boom"),
            _ => false,
        },
        (Panicked(message), CallError::Panicked(panic, _)) => {
            let here = |location: &str| location.contains("matrix.rs");
            attempts == 1 && panic.message() == message && panic.location().is_some_and(here)
        }
        (Exited(code), CallError::Crashed(crash, _)) => {
            attempts == 1 && crash.cause() == ExitCause::Code(code)
        }
        (Killed(signal), CallError::Crashed(crash, _)) => {
            attempts == 1 && crash.signal() == Some(signal)
        }
        (StackGone, CallError::Crashed(crash, context)) => {
            attempts == 1
                && crash.signal() == Some(6)
                && context.stderr_tail().contains("has overflowed its stack")
        }
        (Late, CallError::TimedOut(timed_out, _)) => {
            attempts == 1 && timed_out.limit() == Limit::Attempt
        }
        _ => false,
    }
}

#[retry_runtime::test]
fn every_failure_at_every_stage_is_what_the_table_says() {
    fixture(LIMIT, serves, || {
        let (mut run, mut skipped) = (0, 0);
        let mut wrong = Vec::new();
        for (stage, cells) in TABLE {
            for (how, cell) in WAYS.into_iter().zip(cells) {
                if matches!(cell, TheProgramItself) {
                    skipped += 1;
                    continue;
                }
                run += 1;
                let result = catch_unwind(AssertUnwindSafe(|| call(Bomb { stage, how })));
                if !is_as_expected(cell, stage, &result) {
                    wrong.push(format!(
                        "{stage:?} x {how:?}: {result:?} instead of {cell:?}"
                    ));
                }
                if !serves() {
                    wrong.push(format!(
                        "{stage:?} x {how:?}: the pool does not serve after it"
                    ));
                }
            }
        }
        eprintln!("{run} cells, {skipped} skipped: they end the program itself");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!((run, skipped), (69, 21));
    });
}
