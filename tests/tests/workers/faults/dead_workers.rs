//! Faults of section A: deaths of workers that the other tests do not cover. The numbers are those of the
//! table in `docs/faults.md`.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use retry_runtime::{
    AttemptOutcome, CallError, CrashLimit, EventKind, ExitCause, Lost, Rejected, Retries, Runtime,
    Startup, current, function,
};
use retry_tests::{Ledger, close_descriptor, eventually, fixture, has_rings, kill_child, record};
use rustix::process::{Signal, getpid, kill_process};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

/// Waits to be killed on its first attempt.
#[function(max_workers = 1)]
fn is_killed_once(ledger: PathBuf) -> u32 {
    record(&ledger, 1);
    if current().unwrap().attempt() == 1 {
        std::thread::sleep(LIMIT);
    }
    std::process::id()
}

// A1
#[retry_runtime::test]
fn a_killed_worker_is_replaced_at_once() {
    fixture(LIMIT, serves, || {
        let fastest = (0..5).map(|_| {
            let ledger = Ledger::new();
            let call = is_killed_once.spawn(ledger.path());
            eventually("it runs", Duration::from_secs(20), || ledger.total() == 1);
            let victim = ledger.entries()[0].pid;
            let begun = Instant::now();
            assert!(kill_child(victim));
            assert_ne!(call.wait().unwrap(), victim);
            assert_eq!(ledger.total(), 2);
            begun.elapsed()
        });
        // On an idle machine this takes milliseconds.
        assert!(fastest.min().unwrap() < Duration::from_secs(1));
    });
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("the second panic");
    }
}

#[function(crash_limit = CrashLimit::unlimited())]
fn panics_while_panicking() {
    let _bomb = PanicsInDrop;
    panic!("the first panic");
}

// A6
#[retry_runtime::test]
fn a_panic_during_a_panic_is_told_and_no_hang() {
    fixture(LIMIT, serves, || {
        let error = panics_while_panicking.remote().wait().unwrap_err();
        // Rust aborts the process.
        match &error {
            CallError::Crashed(crash, context) => {
                assert_eq!(crash.signal(), Some(6));
                let tail = context.stderr_tail();
                assert!(tail.contains("panic in a destructor"), "{tail}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[expect(unconditional_recursion, reason = "that is the point of it")]
fn deeper(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    deeper(depth + 1) + page[7]
}

#[function(at_most_once)]
fn overflows(on_a_thread: bool) -> u64 {
    if on_a_thread {
        std::thread::spawn(|| deeper(0)).join().unwrap()
    } else {
        deeper(0)
    }
}

// A8
#[retry_runtime::test]
fn a_stack_that_overflows_says_so_on_any_thread() {
    fixture(LIMIT, serves, || {
        for on_a_thread in [false, true] {
            match overflows.remote(on_a_thread).wait() {
                Err(CallError::Crashed(crash, context)) => {
                    assert!([Some(6), Some(11)].contains(&crash.signal()), "{crash}");
                    let tail = context.stderr_tail();
                    assert!(tail.contains("has overflowed its stack"), "{tail}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

/// A list of this many elements, each nested in the one before.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nest(Option<Box<Nest>>);

impl Nest {
    fn of(depth: u32) -> Self {
        (0..depth).fold(Self(None), |inner, _| Self(Some(Box::new(inner))))
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut inner) = next {
            next = inner.0.take();
        }
    }
}

#[function]
fn takes_nest(nest: Nest) -> u32 {
    let mut depth = 0;
    let mut inner = &nest.0;
    while let Some(next) = inner {
        depth += 1;
        inner = &next.0;
    }
    depth
}

#[function(at_most_once)]
fn gives_nest(depth: u32) -> Nest {
    Nest::of(depth)
}

// A9
#[retry_runtime::test]
fn a_value_that_is_nested_too_deeply_is_an_error() {
    fixture(LIMIT, serves, || {
        assert_eq!(takes_nest.remote(Nest::of(100)).wait().unwrap(), 100);
        assert!(gives_nest.remote(100).wait().is_ok());
        // Each level is two: a struct and an option.
        for depth in [300, 2000, 100_000] {
            match takes_nest.remote(Nest::of(depth)).wait() {
                Err(CallError::Rejected(Rejected::NotEncodable { parameter, reason }, _)) => {
                    assert_eq!(&*parameter, "nest");
                    assert_eq!(&*reason, "the value is nested deeper than 512 levels");
                }
                other => panic!("{other:?}"),
            }
            match gives_nest.remote(depth).wait() {
                Err(CallError::Lost(Lost::NotEncodable { reason }, _)) => {
                    assert_eq!(&*reason, "the value is nested deeper than 512 levels");
                }
                Err(other) => panic!("{other:?}"),
                Ok(_) => panic!("it came"),
            }
        }
    });
}

/// Returns whether the tests inherited an ignored signal, as under `nohup`.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    ignored >> (signal.as_raw() - 1) & 1 == 1
}

/// Sends itself a signal that it does not handle.
#[function(at_most_once, crash_limit = CrashLimit::unlimited())]
fn signals_itself(signal: i32) {
    let signal = Signal::from_named_raw(signal).unwrap();
    // Repeat the signal: Rust's own handler of SIGSEGV and SIGBUS lets the first one pass.
    loop {
        kill_process(getpid(), signal).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

// A13, A17
#[retry_runtime::test]
fn the_signal_that_ends_a_worker_is_named() {
    fixture(LIMIT, serves, || {
        for (signal, name) in [
            (Signal::HUP, "SIGHUP"),
            (Signal::INT, "SIGINT"),
            (Signal::QUIT, "SIGQUIT"),
            (Signal::ILL, "SIGILL"),
            (Signal::TRAP, "SIGTRAP"),
            (Signal::ABORT, "SIGABRT"),
            (Signal::BUS, "SIGBUS"),
            (Signal::FPE, "SIGFPE"),
            (Signal::SEGV, "SIGSEGV"),
            (Signal::TERM, "SIGTERM"),
            (Signal::SYS, "SIGSYS"),
        ] {
            if is_ignored(signal) {
                continue;
            }
            match signals_itself.remote(signal.as_raw()).wait() {
                Err(CallError::Crashed(crash, _)) => {
                    assert_eq!(crash.signal(), Some(signal.as_raw()));
                    assert!(crash.to_string().starts_with(name), "{crash}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[function]
fn ignored_signals_of_a_child() -> u64 {
    let script = "grep SigIgn /proc/self/status";
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap()
}

// A14
#[retry_runtime::test]
fn a_command_that_a_function_starts_dies_of_sigpipe() {
    fixture(LIMIT, serves, || {
        let ignored = ignored_signals_of_a_child.remote().wait().unwrap();
        assert_eq!(ignored & (1 << (13 - 1)), 0, "{ignored:x}");
    });
}

/// Replaces its process with another program.
#[function(retries = Retries::none())]
fn becomes(ledger: PathBuf, program: String, argument: String) -> u32 {
    use std::os::unix::process::CommandExt;
    record(&ledger, 1);
    let error = Command::new(program).arg(argument).exec();
    panic!("{error}");
}

// A15
#[retry_runtime::test]
fn a_worker_that_becomes_another_program_is_given_up() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let ended = becomes.remote(ledger.path(), "true".to_owned(), String::new());
        match ended.wait() {
            Err(CallError::Crashed(crash, _)) => assert_eq!(crash.code(), Some(0)),
            other => panic!("{other:?}"),
        }
        assert_eq!(ledger.total(), 3);
        let ledger = Ledger::new();
        let begun = Instant::now();
        let lives_on = becomes.remote(ledger.path(), "sleep".to_owned(), "600".to_owned());
        match lives_on.wait() {
            Err(CallError::Lost(Lost::Protocol { reason }, context)) => {
                assert!(reason.contains("closed its connection"), "{reason}");
                assert_eq!(context.attempts().len(), 3);
            }
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
}

/// Closes all descriptors except 0 to 2, including those of the library.
#[function(at_most_once)]
fn closes_everything(goes_on: bool) {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let open: Vec<i32> = entries
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .parse()
                .unwrap()
        })
        .collect();
    for descriptor in open {
        // One of the descriptors was the directory's own.
        if descriptor > 2 && std::fs::exists(format!("/proc/self/fd/{descriptor}")).unwrap() {
            close_descriptor(descriptor);
        }
    }
    if goes_on {
        std::thread::sleep(LIMIT);
    }
}

// E7
#[retry_runtime::test]
fn a_worker_that_closes_its_connection_is_replaced() {
    fixture(LIMIT, serves, || {
        // An answer through a ring needs no connection; the worker exits when it finds that its connection is
        // closed.
        let answered = closes_everything.remote(false).wait();
        match has_rings() {
            true => answered.unwrap(),
            false => assert!(
                matches!(answered, Err(CallError::Crashed(..))),
                "{answered:?}"
            ),
        }
        // The watchdog's own wait keeps the connection open: the parent notices nothing until the function
        // returns or times out.
        let begun = Instant::now();
        let call = closes_everything.remote(true);
        let error = call.timeout(Duration::from_millis(300)).wait().unwrap_err();
        assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    });
}

// A18
#[retry_runtime::test]
fn a_worker_that_cannot_start_is_an_error_and_no_storm() {
    fixture(LIMIT, serves, || {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("worker");
        std::fs::write(
            &script,
            // The worker exits either before it can have received anything, or after that.
            "#!/bin/sh\necho no licence >&2\nexit 3\n",
        )
        .unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).unwrap();
        for (program, expected) in [
            (script.to_str().unwrap(), "exited with code 3"),
            ("/nonexistent/program", "No such file or directory"),
            ("/", "Permission denied"),
        ] {
            let runtime = Runtime::builder().worker_program(program).build().unwrap();
            let begun = Instant::now();
            for result in echo.on(&runtime).map(0..100) {
                let error = result.unwrap_err();
                assert!(matches!(error, CallError::Startup(..)), "{error:?}");
                assert!(error.to_string().contains(expected), "{error}");
                assert!(error.did_not_run());
                let told = error.context().stderr_tail().contains("no licence");
                assert_eq!(told, program.ends_with("worker"));
            }
            assert!(begun.elapsed() < Duration::from_secs(10));
            runtime.shutdown(Duration::ZERO).wait();
        }
    });
}

// A18
#[retry_runtime::test]
fn a_library_to_preload_that_is_missing_does_no_harm() {
    fixture(LIMIT, serves, || {
        let missing = "/nonexistent/library.so";
        let runtime = Runtime::builder()
            .env("LD_PRELOAD", missing)
            .build()
            .unwrap();
        assert_eq!(echo.on(&runtime).remote(5).wait().unwrap(), 5);
        runtime.shutdown(Duration::from_secs(5)).wait();
    });
}

// G11
#[retry_runtime::test]
fn a_worker_of_another_program_is_refused() {
    fixture(LIMIT, serves, || {
        let other = env!("CARGO_BIN_EXE_victim");
        let runtime = Runtime::builder().worker_program(other).build().unwrap();
        match echo.on(&runtime).remote(5).wait() {
            Err(error @ CallError::Startup(Startup::Handshake(_), _)) => {
                assert!(error.did_not_run());
                assert!(error.to_string().contains("was it rebuilt?"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        runtime.shutdown(Duration::ZERO).wait();
    });
}

/// Is killed from within while it executes.
#[function(at_most_once)]
fn dies_while_its_child_runs(ledger: PathBuf) {
    let inner = runs_on.spawn(ledger.clone());
    eventually("the inner call runs", LIMIT, || {
        std::fs::read_to_string(&ledger).is_ok_and(|text| !text.is_empty())
    });
    kill_process(getpid(), Signal::KILL).unwrap();
    let _ = inner.wait();
}

#[function]
fn runs_on(ledger: PathBuf) {
    record(&ledger, 1);
    std::thread::sleep(LIMIT);
}

// H10
#[retry_runtime::test]
fn the_death_of_the_outer_call_ends_the_inner_one() {
    fixture(LIMIT, serves, || {
        let mut events = retry_runtime::events();
        let ledger = Ledger::new();
        let error = dies_while_its_child_runs.remote(ledger.path()).wait();
        match error {
            Err(CallError::Crashed(crash, context)) => {
                assert_eq!(crash.signal(), Some(9));
                let outcome = &context.attempts()[0].outcome;
                let killed = ExitCause::Signal {
                    signal: 9,
                    core_dumped: false,
                };
                assert_eq!(*outcome, AttemptOutcome::Crashed(killed));
            }
            other => panic!("{other:?}"),
        }
        loop {
            match events.next_timeout(Duration::from_secs(10)) {
                Some(event)
                    if matches!(event.kind, EventKind::WorkerDown { .. })
                        && event.function == runs_on.name() =>
                {
                    break;
                }
                Some(_) => {}
                None => panic!("the inner call goes on"),
            }
        }
        assert_eq!(ledger.total(), 1);
    });
}
