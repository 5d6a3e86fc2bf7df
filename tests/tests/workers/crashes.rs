//! Workers that die: they are replaced, the right input is blamed, and repeated crashes stop the function.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, CrashLimit, Retries, Startup, function};
use retry_tests::{Ledger, fixture, record};
use rustix::process::{Signal, getpid, kill_process};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

fn die(how: &str) {
    let signal = match how {
        "SIGKILL" => Signal::KILL,
        "SIGSEGV" => Signal::SEGV,
        "SIGBUS" => Signal::BUS,
        "SIGTERM" => Signal::TERM,
        "abort" => std::process::abort(),
        "exit 0" => std::process::exit(0),
        "exit 137" => std::process::exit(137),
        "stack overflow" => {
            #[expect(unconditional_recursion, reason = "that is the point of it")]
            fn deeper(depth: u64) -> u64 {
                let page = std::hint::black_box([depth; 512]);
                deeper(depth + 1) + page[7]
            }
            std::process::exit(i32::try_from(deeper(0)).unwrap_or(0))
        }
        other => panic!("nobody dies of {other}"),
    };
    // Repeat the signal: Rust's own handler of SIGSEGV and SIGBUS lets the first one pass.
    loop {
        kill_process(getpid(), signal).expect("it is our own process");
    }
}

/// Dies on its first `crashes` attempts.
#[function(crash_limit = CrashLimit::unlimited())]
fn dies(ledger: PathBuf, input: u64, crashes: u32, how: String) -> u64 {
    record(&ledger, input);
    if retry_runtime::current().unwrap().attempt() <= crashes {
        eprintln!("input {input} dies of {how}");
        die(&how);
    }
    input
}

#[function(at_most_once)]
fn dies_once_only(ledger: PathBuf) {
    record(&ledger, 0);
    die("SIGKILL");
}

#[retry_runtime::test]
fn any_death_is_recovered_without_the_caller_noticing() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let ways = [
            "SIGKILL",
            "SIGSEGV",
            "SIGBUS",
            "SIGTERM",
            "abort",
            "exit 0",
            "exit 137",
            "stack overflow",
        ];
        for (input, how) in (0..).zip(ways) {
            assert_eq!(
                dies.remote(ledger.path(), input, 1, how.into())
                    .wait()
                    .unwrap(),
                input
            );
        }
        assert!(
            ledger
                .executions()
                .values()
                .all(|executions| *executions == 2)
        );
    });
}

#[retry_runtime::test]
fn the_third_crash_of_an_input_is_final_and_names_its_cause() {
    fixture(LIMIT, serves, || {
        for (how, cause) in [
            ("SIGKILL", "killed by SIGKILL"),
            ("SIGSEGV", "SIGSEGV (invalid memory reference)"),
            ("abort", "SIGABRT (abort)"),
            ("exit 0", "exited with code 0 in the middle of a call"),
            ("exit 137", "exited with code 137"),
        ] {
            let ledger = Ledger::new();
            let call = dies.remote(ledger.path(), 7, 99, how.into());
            let error = call.retries(3).wait().unwrap_err();
            match &error {
                CallError::Crashed(crash, context) => {
                    assert_eq!(crash.to_string(), cause);
                    assert_eq!(context.attempts().len(), 3);
                    let pids: BTreeSet<_> = context
                        .attempts()
                        .iter()
                        .map(|attempt| attempt.worker_pid)
                        .collect();
                    assert_eq!(pids.len(), 3, "each attempt had a worker of its own");
                    assert!(context.stderr_tail().contains(&format!("dies of {how}")));
                }
                other => panic!("{other:?}"),
            }
            // The limit that applies is independent of `retries`, and the line says so.
            let begin = format!(
                "dies crashed after 3 attempts: {cause}; an input is given up after 3 crashes, \
                 whatever its `retries`"
            );
            assert!(error.to_string().starts_with(&begin), "{error}");
            assert_eq!(ledger.total(), 3);
        }
    });
}

#[retry_runtime::test]
fn a_crash_does_not_use_up_retries_and_at_most_once_means_it() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let call = dies.remote(ledger.path(), 1, 2, "SIGKILL".into());
        assert_eq!(call.retries(Retries::none()).wait().unwrap(), 1);
        assert_eq!(ledger.total(), 3);
        let ledger = Ledger::new();
        let error = dies_once_only.remote(ledger.path()).wait().unwrap_err();
        assert!(matches!(error, CallError::Crashed(..)), "{error:?}");
        assert_eq!(ledger.total(), 1);
    });
}

#[function(retries = Retries::fixed(3, Duration::ZERO))]
fn troubled(ledger: PathBuf, input: u64) -> Result<u64, String> {
    record(&ledger, input);
    if retry_runtime::current().unwrap().attempt() == 1 {
        match input % 200 {
            7 | 107 => return Err("once".to_owned()),
            13 | 113 => panic!("once"),
            50 => die("SIGKILL"),
            _ => {}
        }
    }
    Ok(input * 2)
}

#[retry_runtime::test]
fn ten_thousand_troubled_inputs_run_as_often_as_they_should() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = (0..10_000).map(|input| (ledger.path(), input));
        for (input, result) in (0..).zip(troubled.map(inputs)) {
            assert_eq!(result.unwrap(), input * 2);
        }
        let executions = ledger.executions();
        assert_eq!(executions.len(), 10_000);
        for (input, executions) in executions {
            let expected = match input % 200 {
                7 | 107 | 13 | 113 | 50 => 2,
                _ => 1,
            };
            assert_eq!(executions, expected, "input {input}");
        }
    });
}

#[function]
fn poisoned(ledger: PathBuf, input: u64) -> u64 {
    record(&ledger, input);
    if input == 4711 {
        die("SIGSEGV");
    }
    input
}

#[retry_runtime::test]
fn one_poison_input_among_ten_thousand_fails_alone() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = (0..10_000).map(|input| (ledger.path(), input));
        for (input, result) in (0..).zip(poisoned.map(inputs)) {
            match result {
                Ok(value) => assert_eq!(value, input),
                Err(CallError::Crashed(crash, context)) => {
                    assert_eq!((input, crash.signal()), (4711, Some(11)));
                    assert_eq!(context.input_index(), Some(4711));
                    assert_eq!(context.attempts().len(), 3);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        let mut executions = ledger.executions();
        assert_eq!(executions.remove(&4711), Some(3));
        assert_eq!(executions.len(), 9_999);
        assert!(executions.values().all(|executions| *executions == 1));
    });
}

#[function]
fn always_dies(input: u64) -> u64 {
    let _ = input;
    std::process::abort()
}

#[retry_runtime::test]
fn a_function_that_always_crashes_is_stopped() {
    fixture(LIMIT, serves, || {
        let begun = Instant::now();
        let results: Vec<_> = always_dies.map(0..1000).into_iter().collect();
        assert_eq!(results.len(), 1000);
        let limited = results
            .iter()
            .filter(|result| matches!(result, Err(CallError::CrashLimit(..))))
            .count();
        assert!(limited >= 990, "{limited}");
        assert!(begun.elapsed() < Duration::from_secs(30));
        match always_dies.remote(1).wait() {
            Err(CallError::CrashLimit(exceeded, _)) => {
                // Another worker may have been dying at the same moment.
                assert!(exceeded.crashes() >= 8);
                assert_eq!(exceeded.limit(), CrashLimit::default());
            }
            other => panic!("{other:?}"),
        }
    });
}

fn exits() -> u32 {
    eprintln!("cannot find the table");
    std::process::exit(9)
}

#[function(setup = exits)]
fn exits_in_setup(state: &u32, input: u64) -> u64 {
    u64::from(*state) + input
}

fn refuses() -> Result<String, std::io::Error> {
    Err(std::io::Error::other("the table is garbled"))
}

#[function(setup = refuses)]
fn refuses_in_setup(state: &String, input: u64) -> u64 {
    state.len() as u64 + input
}

fn dawdles() -> u32 {
    eprintln!("still loading");
    std::thread::sleep(Duration::from_secs(60));
    0
}

#[function(setup = dawdles, startup_timeout = "300ms")]
fn dawdles_in_setup(state: &u32, input: u64) -> u64 {
    u64::from(*state) + input
}

#[retry_runtime::test]
fn a_crash_at_start_up_fails_all_queued_calls_at_once() {
    fixture(LIMIT, serves, || {
        let begun = Instant::now();
        let results: Vec<_> = exits_in_setup.map(0..3000).into_iter().collect();
        assert_eq!(results.len(), 3000);
        for result in results {
            match result {
                Err(error @ CallError::Startup(Startup::Exited(cause), _)) => {
                    assert_eq!(cause, retry_runtime::ExitCause::Code(9));
                    assert!(error.did_not_run());
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        let error = exits_in_setup.remote(1).wait().unwrap_err();
        assert!(
            error
                .context()
                .stderr_tail()
                .contains("cannot find the table")
        );
    });
}

#[retry_runtime::test]
fn a_set_up_that_fails_or_dawdles_says_so() {
    fixture(LIMIT, serves, || {
        match refuses_in_setup.remote(1).wait() {
            Err(CallError::Startup(Startup::SetUp(reason), _)) => {
                assert_eq!(&*reason, "the table is garbled");
            }
            other => panic!("{other:?}"),
        }
        match dawdles_in_setup.remote(1).wait() {
            Err(CallError::Startup(Startup::TimedOut(timed_out), context)) => {
                assert_eq!(timed_out.limit(), retry_runtime::Limit::Startup);
                assert!(context.stderr_tail().contains("still loading"));
            }
            other => panic!("{other:?}"),
        }
    });
}

fn counter() -> Result<u64, String> {
    Ok(100)
}

#[function(setup = counter, max_workers = 1)]
fn counts(state: &mut u64, by: u64) -> (u64, u32) {
    *state += by;
    (*state, std::process::id())
}

#[retry_runtime::test]
fn set_up_runs_once_per_worker() {
    fixture(LIMIT, serves, || {
        let (first, pid) = counts.remote(1).wait().unwrap();
        assert_eq!(first, 101);
        assert_eq!(counts.remote(5).wait().unwrap(), (106, pid));
        // An idle worker that is killed is replaced without any call failing.
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        retry_tests::eventually("the next worker", Duration::from_secs(5), || {
            counts.remote(1).wait().is_ok_and(|(state, _)| state == 101)
        });
    });
}
