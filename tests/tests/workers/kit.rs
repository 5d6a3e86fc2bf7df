//! The test kit, the inline engine, budgets and joins: the tools for testing programs.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retry_runtime::testing::{Fault, Rule, inject, pause_clock};
use retry_runtime::{
    AttemptOutcome, CallError, CrashLimit, ExitCause, Retries, Runtime, Startup, function, join,
};
use retry_tests::{Ledger, eventually, fixture, record};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

#[function(retries = 3, crash_limit = CrashLimit::unlimited())]
fn doubles(value: u64) -> u64 {
    value * 2
}

#[retry_runtime::test]
fn every_fault_of_the_kit_shows_as_what_it_is() {
    fixture(LIMIT, serves, || {
        let _clock = pause_clock();
        let error_of = |fault| {
            let _faults = inject(1, [Rule::new(fault).function(doubles.name())]);
            doubles.remote(1).wait().unwrap_err()
        };
        for (fault, text) in [
            (Fault::Signal(9), "SIGKILL"),
            (Fault::Signal(11), "SIGSEGV"),
            (Fault::Exit(3), "exited with code 3"),
            (Fault::Panic, "panicked"),
            (Fault::CorruptResult, "broke the protocol"),
            (Fault::OutOfMemory, "too much memory"),
        ] {
            let error = error_of(fault);
            assert!(error.to_string().contains(text), "{error}");
            let attempts = if fault == Fault::Panic { 4 } else { 3 };
            assert_eq!(error.context().attempts().len(), attempts, "{error:?}");
        }
        let _faults = inject(1, [Rule::new(Fault::Hang).function(doubles.name())]);
        let hangs = doubles
            .remote(1)
            .timeout(Duration::from_millis(50))
            .retries(Retries::none())
            .wait();
        assert!(matches!(hangs, Err(CallError::TimedOut(..))), "{hangs:?}");
    });
}

#[function(max_workers = 1)]
fn never_starts() -> u32 {
    1
}

#[retry_runtime::test]
fn a_start_up_failure_can_be_injected() {
    fixture(LIMIT, serves, || {
        let faults = inject(1, [Rule::new(Fault::StartUp).function(never_starts.name())]);
        match never_starts.remote().wait() {
            Err(CallError::Startup(Startup::SetUp(_), _)) => {}
            other => panic!("{other:?}"),
        }
        drop(faults);
        assert_eq!(never_starts.remote().wait().unwrap(), 1);
    });
}

#[retry_runtime::test]
fn faults_are_for_the_attempts_inputs_and_shares_that_are_named() {
    fixture(LIMIT, serves, || {
        let _clock = pause_clock();
        let rules = [
            Rule::new(Fault::Panic).input(3).attempt(1),
            Rule::new(Fault::Signal(9)).input(7).times(1),
            // Only first attempts: with independent draws, all four attempts at one input could fail.
            Rule::new(Fault::Panic)
                .share(0.05)
                .attempt(1)
                .function(doubles.name()),
        ];
        let _faults = inject(42, rules);
        for (input, result) in (0..2000).zip(doubles.map(0..2000)) {
            assert_eq!(result.unwrap(), input * 2);
        }
    });
}

#[retry_runtime::test]
fn faults_of_two_threads_do_not_mix() {
    fixture(LIMIT, serves, || {
        std::thread::scope(|scope| {
            for (fault, text) in [
                (Fault::Panic, "panicked"),
                (Fault::Exit(3), "exited with code 3"),
            ] {
                scope.spawn(move || {
                    for round in 0..20 {
                        let _clock = pause_clock();
                        let rule = Rule::new(fault).function(doubles.name());
                        let _faults = inject(round, [rule]);
                        let error = doubles.remote(1).wait().unwrap_err();
                        assert!(error.to_string().contains(text), "{error}");
                    }
                });
            }
        });
    });
}

#[retry_runtime::test]
fn the_last_injected_rule_is_asked_first_and_hides_no_other() {
    fixture(LIMIT, serves, || {
        let _clock = pause_clock();
        let rule = |fault| Rule::new(fault).function(doubles.name());
        let _outer = inject(1, [rule(Fault::Panic).attempt(1)]);
        let outcomes = |error: CallError<Infallible>| -> Vec<AttemptOutcome> {
            let attempts = error.context().attempts().iter();
            attempts.map(|attempt| attempt.outcome.clone()).collect()
        };
        let crashed = AttemptOutcome::Crashed(ExitCause::Code(3));
        let inner = inject(1, [rule(Fault::Exit(3)).attempt(2)]);
        let call = doubles.remote(1).retries(Retries::fixed(1, Duration::ZERO));
        assert_eq!(call.wait().unwrap(), 2, "a crash is not a retry");
        let once = inject(1, [rule(Fault::Exit(3))]);
        assert_eq!(
            outcomes(doubles.remote(1).wait().unwrap_err()),
            [crashed.clone(), crashed.clone(), crashed]
        );
        drop((once, inner));
        let call = doubles.remote(1).retries(Retries::none());
        assert_eq!(
            outcomes(call.wait().unwrap_err()),
            [AttemptOutcome::Panicked]
        );
    });
}

#[function(retries = Retries::exponential(5))]
fn never_works() -> Result<(), String> {
    Err("no".to_owned())
}

#[retry_runtime::test]
fn a_paused_clock_skips_the_delays_and_attempts_show_them() {
    fixture(LIMIT, serves, || {
        let _clock = pause_clock();
        let begun = Instant::now();
        let error = never_works.remote().wait().unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5));
        let attempts = error.context().attempts();
        assert_eq!(attempts.len(), 6);
        for (pair, seconds) in attempts.windows(2).zip([1, 2, 4, 8, 16]) {
            let gap = pair[1].start - pair[0].start;
            let expected = Duration::from_secs(seconds);
            assert!(
                gap >= expected && gap < expected + Duration::from_secs(1),
                "{gap:?} instead of {expected:?}"
            );
        }
    });
}

#[retry_runtime::test]
fn a_clock_put_forward_does_not_hold_up_timeouts() {
    fixture(LIMIT, serves, || {
        let _clock = pause_clock();
        for _ in 0..3 {
            // From here on no worker is started; starting one would make the I/O thread check its timers
            // again.
            assert_eq!(doubles.remote(1).wait().unwrap(), 2);
            // The call gives up after 7 s. The next call, whose delays take 31 s, advances the clock past its
            // deadline.
            let late = never_works.remote().deadline(Duration::from_secs(10));
            assert!(late.wait().is_err());
            assert!(never_works.remote().wait().is_err());
            let _faults = inject(1, [Rule::new(Fault::Hang).function(doubles.name())]);
            let begun = Instant::now();
            let hangs = doubles.remote(1).timeout(Duration::from_millis(10));
            let hangs = hangs.retries(Retries::none()).wait();
            assert!(matches!(hangs, Err(CallError::TimedOut(..))), "{hangs:?}");
            assert!(begun.elapsed() < Duration::from_secs(3));
        }
    });
}

#[function(retries = Retries::fixed(2, Duration::ZERO))]
fn fails(ledger: PathBuf, input: u64) -> Result<(), String> {
    record(&ledger, input);
    Err("down".to_owned())
}

#[retry_runtime::test]
fn a_retry_budget_bounds_the_retries_of_a_whole_map() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = || (0..400).map(|input| (ledger.path(), input));
        let results = fails.map(inputs()).retry_budget(0.1).into_iter();
        assert_eq!(results.filter(Result::is_err).count(), 400);
        // 400 first attempts, and retries of a tenth of all attempts.
        let total = ledger.total();
        assert!((410..=450).contains(&total), "{total}");
    });
}

#[retry_runtime::test]
fn a_join_keeps_the_order_of_its_calls() {
    fixture(LIMIT, serves, || {
        let calls = (0..50).map(|value| doubles.spawn(value));
        for (value, result) in (0..).zip(join(calls).wait()) {
            assert_eq!(result.unwrap(), value * 2);
        }
    });
}

#[function(max_workers = 1)]
fn nested(levels: u32) -> (u32, u32) {
    let below = match levels {
        0 => 0,
        _ => nested.remote(levels - 1).wait().unwrap().0,
    };
    (below + 1, std::process::id())
}

#[function(retries = Retries::fixed(2, Duration::ZERO), timeout = "300ms")]
fn misbehaves(ledger: PathBuf, how: String) -> Result<u32, String> {
    record(&ledger, 1);
    match how.as_str() {
        "panics" => panic!("inline"),
        "fails" => Err("inline".to_owned()),
        "sleeps" => {
            std::thread::sleep(Duration::from_millis(400));
            Ok(0)
        }
        _ => Ok(std::process::id()),
    }
}

#[function(concurrency = 4)]
async fn awaits(value: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(1)).await;
    value + echo.remote(value).await.unwrap()
}

/// Starts an async runtime: the first one of a process opens descriptors for signals, and keeps them.
fn open_signal_descriptors() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    drop(runtime);
}

#[retry_runtime::test]
fn an_inline_runtime_keeps_the_policies_in_this_process() {
    open_signal_descriptors();
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().inline().build().unwrap();
        let own = std::process::id();
        let on = misbehaves.on(&runtime);
        let ledger = || Ledger::new();
        assert_eq!(
            on.remote(ledger().path(), String::new()).wait().unwrap(),
            own
        );
        assert_eq!(nested.on(&runtime).remote(0).wait().unwrap(), (1, own));
        assert_eq!(awaits.on(&runtime).remote(5).wait().unwrap(), 10);
        for (how, outcome) in [
            ("panics", AttemptOutcome::Panicked),
            ("fails", AttemptOutcome::Failed),
            (
                "sleeps",
                AttemptOutcome::TimedOut(Duration::from_millis(300)),
            ),
        ] {
            let ledger = Ledger::new();
            let error = on.remote(ledger.path(), how.to_owned()).wait().unwrap_err();
            let attempts = error.context().attempts();
            assert_eq!(attempts.len(), 3, "{error:?}");
            assert!(attempts.iter().all(|attempt| attempt.outcome == outcome));
            assert_eq!(ledger.total(), 3);
        }
        runtime.shutdown(Duration::from_secs(5)).wait();
        // Cancelled calls keep their threads until the functions return.
        std::thread::sleep(Duration::from_millis(500));
    });
}

/// The number of calls of `runs_until_asked` that have returned in this process.
static RETURNED: AtomicU64 = AtomicU64::new(0);

#[function(timeout = "100ms")]
fn runs_until_asked() {
    let token = retry_runtime::current().unwrap().token();
    while !token.is_cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    RETURNED.fetch_add(1, Ordering::SeqCst);
}

#[function(timeout = "100ms", grace = "30s", concurrency = 4)]
async fn awaits_until_asked() {
    let token = retry_runtime::current().unwrap().token();
    token.cancelled().await;
}

#[function(retries = Retries::fixed(1, Duration::ZERO))]
fn tells_its_attempt() -> Result<(u32, Option<u64>), String> {
    let call = retry_runtime::current().unwrap();
    match call.attempt() {
        1 => Err("the first one".to_owned()),
        attempt => Ok((attempt, call.input_index())),
    }
}

#[retry_runtime::test]
fn an_inline_function_knows_its_call_and_when_to_stop() {
    open_signal_descriptors();
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().inline().build().unwrap();
        let told: Vec<_> = tells_its_attempt
            .on(&runtime)
            .map([(); 2])
            .into_iter()
            .collect();
        let told: Vec<_> = told.into_iter().map(Result::unwrap).collect();
        assert_eq!(told, [(2, Some(0)), (2, Some(1))]);
        for count in 1..=3 {
            let error = runs_until_asked.on(&runtime).remote().wait().unwrap_err();
            assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
            eventually("the function returns", LIMIT, || {
                RETURNED.load(Ordering::SeqCst) == count
            });
        }
        let error = awaits_until_asked.on(&runtime).remote().wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        assert!(retry_runtime::current().is_none());
        runtime.shutdown(Duration::from_secs(5)).wait();
    });
}

/// Needs more stack than a thread of the standard library has.
#[function]
fn needs_stack(of: u8) -> usize {
    let room = std::hint::black_box([of; 3 * 1024 * 1024]);
    room.iter().filter(|byte| **byte == of).count()
}

#[retry_runtime::test]
fn an_inline_function_has_the_stack_of_a_main_thread() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().inline().build().unwrap();
        let inline = needs_stack.on(&runtime).remote(7).wait().unwrap();
        assert_eq!(inline, 3 * 1024 * 1024);
        runtime.shutdown(Duration::from_secs(5)).wait();
    });
}

#[retry_runtime::test]
fn nothing_is_said_about_memory_without_evidence() {
    fixture(LIMIT, serves, || {
        let _faults = inject(1, [Rule::new(Fault::Signal(9)).function(doubles.name())]);
        match doubles.remote(1).wait() {
            Err(CallError::Crashed(crash, _)) => {
                assert!(matches!(crash.cause(), ExitCause::Signal { signal: 9, .. }));
            }
            other => panic!("{other:?}"),
        }
    });
}
