//! Limits that hold: on time, on memory, on processes, and on the share of a single caller.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use retry_runtime::{AttemptOutcome, CallError, Runtime, Startup, Waiting, function, service};
use retry_tests::{Ledger, descendants, eventually, fixture, fixture_outside, record, workers};
use rustix::process::{Pid, Signal};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

const LIMITED: &str = env!("CARGO_BIN_EXE_limited");

/// Returns the value of a key in this process's status, in bytes.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let value = line.and_then(|line| line.split_whitespace().next());
    value
        .and_then(|value| value.parse::<u64>().ok())
        .expect("a number")
        * 1024
}

// ------------------------------------------------------------------ attempts

#[function(max_workers = 1)]
fn takes(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[retry_runtime::test]
fn an_input_that_was_only_prefetched_did_not_run() {
    fixture(LIMIT, serves, || {
        takes.remote(1).wait().unwrap();
        let begun = Instant::now();
        let deadline = Duration::from_secs(1);
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let options = retry_runtime::Options::new().deadline(deadline);
                takes.with_options(options).spawn(700)
            })
            .collect();
        let results: Vec<_> = calls.into_iter().map(|call| call.wait()).collect();
        // On a slow machine even the first one may be late; the reported times have to be right.
        for (place, result) in results.into_iter().enumerate() {
            let Err(error) = result else { continue };
            let CallError::TimedOut(timed_out, context) = &error else {
                panic!("{error:?}");
            };
            let ran = timed_out.waiting_for() == Some(Waiting::Attempt);
            assert_eq!(error.did_not_run(), !ran, "{error:?}");
            assert!(context.attempts().len() == usize::from(ran), "{error:?}");
            for attempt in context.attempts() {
                assert!(attempt.start >= begun && attempt.duration <= deadline);
            }
            assert!(
                ran || error.to_string().contains("waiting for a worker"),
                "{error}"
            );
            assert!(place != 3 || !ran, "there was no time for it: {error:?}");
        }
    });
}

#[function(max_workers = 1)]
fn takes_by_input(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[retry_runtime::test]
fn in_a_map_a_deadline_does_not_count_the_queue() {
    fixture(LIMIT, serves, || {
        let deadline = Duration::from_secs(2);
        let results = takes_by_input.map([100; 60]).deadline(deadline);
        let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{:?}", failed.first());
        // An input that takes longer than that fails alone.
        let results = takes_by_input.map([1, 60_000, 1]).deadline(deadline);
        let results: Vec<_> = results.into_iter().collect();
        assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
        assert!(
            matches!(results[1], Err(CallError::TimedOut(..))),
            "{results:?}"
        );
    });
}

#[derive(Debug, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("no, for the {0}. time")]
struct Refused(u32);

#[function(retries = 9, deadline = "1500ms", max_workers = 1)]
fn refuses() -> Result<(), Refused> {
    Err(Refused(retry_runtime::current().unwrap().attempt()))
}

#[retry_runtime::test]
fn a_deadline_that_ends_the_retries_keeps_the_error() {
    fixture(LIMIT, serves, || match refuses.remote().wait() {
        Err(CallError::Function(Refused(last), context)) => {
            assert_eq!(last as usize, context.attempts().len());
            let failed = |outcome: &AttemptOutcome| matches!(outcome, AttemptOutcome::Failed);
            assert!(context.attempts().iter().all(|one| failed(&one.outcome)));
            for (number, attempt) in (1..).zip(context.attempts()) {
                let text = attempt.error.as_deref();
                assert_eq!(text, Some(&*format!("no, for the {number}. time")));
            }
        }
        other => panic!("{other:?}"),
    });
}

/// The first input blocks the worker's thread.
#[function(max_workers = 1, concurrency = 8, timeout = "700ms")]
async fn may_block(value: u64) -> u64 {
    if value == 0 {
        std::thread::sleep(Duration::from_secs(60));
    }
    value
}

#[retry_runtime::test]
fn a_concurrent_input_that_was_not_polled_did_not_run() {
    fixture(LIMIT, serves, || {
        may_block.remote(9).wait().unwrap();
        let calls: Vec<_> = (0..4).map(|value| may_block.spawn(value)).collect();
        for (value, call) in calls.into_iter().enumerate() {
            let result = call.wait();
            if value == 0 {
                assert!(matches!(result, Err(CallError::TimedOut(..))), "{result:?}");
            } else {
                assert_eq!(result.unwrap(), value as u64);
            }
        }
    });
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct OnlyDebug(u32);

#[derive(serde::Serialize, serde::Deserialize)]
struct NoText;

#[function(retries = retry_runtime::Retries::fixed(1, Duration::ZERO))]
fn fails_without_display() -> Result<(), OnlyDebug> {
    Err(OnlyDebug(7))
}

#[function(retries = retry_runtime::Retries::fixed(1, Duration::ZERO))]
async fn fails_without_text() -> Result<(), NoText> {
    Err(NoText)
}

#[function(retries = retry_runtime::Retries::fixed(1, Duration::ZERO))]
fn fails_with_a_chain() -> anyhow::Result<()> {
    Err(anyhow::anyhow!("the disk is full").context("line one\nline two"))
}

#[function(retries = retry_runtime::Retries::fixed(1, Duration::ZERO))]
fn panics_with(text: String) {
    panic!("{text}");
}

#[retry_runtime::test]
fn attempts_keep_the_text_of_their_error() {
    fn texts<T, E>(result: Result<T, CallError<E>>) -> Vec<Option<String>> {
        let error = result.err().expect("an error");
        let attempts = error.context().attempts().iter();
        attempts
            .map(|one| one.error.as_deref().map(str::to_owned))
            .collect()
    }
    fixture(LIMIT, serves, || {
        let twice = |text: &str| vec![Some(text.to_owned()); 2];
        assert_eq!(
            texts(fails_without_display.remote().wait()),
            twice("OnlyDebug(7)")
        );
        assert_eq!(texts(fails_without_text.remote().wait()), [None, None]);
        assert_eq!(
            texts(fails_with_a_chain.remote().wait()),
            twice("line one ...")
        );
        assert_eq!(
            texts(panics_with.remote("oh".to_owned()).wait()),
            twice("oh")
        );
        let long = texts(panics_with.remote("x".repeat(10_000)).wait());
        assert!(
            long.iter().flatten().all(|text| text.len() <= 200),
            "{long:?}"
        );
        let report = format!("{:?}", fails_without_display.remote().wait().unwrap_err());
        assert_eq!(report.matches("OnlyDebug(7)").count(), 1, "{report}");
    });
}

// ------------------------------------------------ damaged memory, late checks

/// Writes a pattern over the first pages of the memory that this worker shares with its parent.
#[function(max_workers = 1, timeout = "500ms")]
fn damages_its_memory(pattern: u8, from: u64, length: usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let line = maps
        .lines()
        .find(|line| line.contains("memfd:retry-worker"));
    let start = line
        .and_then(|line| line.split('-').next())
        .expect("a mapping");
    let start = u64::from_str_radix(start, 16).expect("an address");
    let memory = OpenOptions::new()
        .write(true)
        .open("/proc/self/mem")
        .expect("/proc");
    memory
        .write_all_at(&vec![pattern; length], start + from)
        .expect("writable");
    std::thread::sleep(Duration::from_secs(600));
}

#[retry_runtime::test]
fn damaged_shared_memory_does_not_disable_a_timeout() {
    fixture(LIMIT, serves, || {
        for pattern in [0, 1, 0x7f, 0xff] {
            for (from, length) in [(0, 4096), (0, 36 * 1024), (4096, 4096)] {
                let begun = Instant::now();
                let result = damages_its_memory.remote(pattern, from, length).wait();
                assert!(result.is_err());
                let elapsed = begun.elapsed();
                assert!(
                    elapsed < Duration::from_secs(20),
                    "{pattern} at {from}: {elapsed:?}"
                );
            }
        }
    });
}

#[function(max_workers = 1, timeout = "300ms")]
fn whose_worker_is_stopped(value: u64) -> u64 {
    value
}

#[retry_runtime::test]
fn a_worker_that_does_not_begin_its_input_is_replaced() {
    fixture(LIMIT, serves, || {
        let before = workers();
        whose_worker_is_stopped.remote(1).wait().unwrap();
        let new = workers().into_iter().filter(|pid| !before.contains(pid));
        for number in new {
            let pid = Pid::from_raw(number.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::STOP);
            // A worker that polls for its next call may begin it before the signal arrives.
            wait_until_stopped(number);
        }
        // The call has not run in the stopped worker, so another worker runs it.
        assert_eq!(whose_worker_is_stopped.remote(2).wait().unwrap(), 2);
    });
}

/// Waits until a process is stopped, or does not exist.
fn wait_until_stopped(pid: u32) {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    eventually("it has stopped", LIMIT, || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") T "))
    });
}

/// Starts a program, continues it some time after it has stopped itself, and returns its output.
fn stopped_for(mode: &str, time: Duration) -> String {
    let mut program = Command::new(LIMITED)
        .args(["--what", mode])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let mut output = BufReader::new(program.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "stopped\n");
    wait_until_stopped(program.id());
    std::thread::sleep(time);
    let pid = Pid::from_child(&program);
    rustix::process::kill_process(pid, Signal::CONT).expect("it is there");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("its output");
    program.wait().expect("its end");
    rest
}

#[test]
fn a_result_in_time_counts_however_late_it_is_read() {
    fixture_outside(LIMIT, || {
        let time = Duration::from_secs(3);
        assert_eq!(stopped_for("stopped-start", time), "Ok(1)\n");
        assert_eq!(stopped_for("stopped-deadline", time), "Ok(300)\n");
        assert_eq!(stopped_for("stopped-timeout", time), "Ok(300)\n");
        assert_eq!(stopped_for("stopped-get", time), "Some(Ok(300))\n");
    });
}

// ------------------------------------------------------------------ processes

fn limited(mode: &str) -> Output {
    Command::new(LIMITED)
        .args(["--what", mode])
        .env("RETRY_SHUTDOWN_GRACE", "1s")
        .output()
        .expect("the program can be started")
}

#[test]
fn the_end_of_a_program_waits_no_longer_than_its_grace() {
    fixture_outside(LIMIT, || {
        let begun = Instant::now();
        let output = limited("leaves-a-task");
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(output.stdout, b"Ok(3)\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("waiting for worker ") && said.contains(" of leaves_a_task"),
            "{said}"
        );
        assert!(said.contains("which did not end in time"), "{said}");
    });
}

fn ends_slowly((): ()) {
    std::thread::sleep(Duration::from_millis(700));
}

fn nothing() {}

#[function(max_workers = 2, single_use_workers, setup = nothing, teardown = ends_slowly)]
fn is_used_once(_state: &(), value: u64) -> u64 {
    value
}

#[retry_runtime::test]
fn workers_that_end_slowly_are_limited() {
    fixture(LIMIT, serves, || {
        let others = descendants().len();
        let mut most = 0;
        for (value, result) in (0..16).zip(is_used_once.map(0..16)) {
            assert_eq!(result.unwrap(), value);
            most = most.max(descendants().len() - others);
        }
        // Two that serve, two that end, one that starts, and the standby process.
        assert!(most <= 6, "{most} processes");
    });
}

/// A lock on a file that only one process can hold.
#[derive(Debug)]
struct Held(File);

fn takes_the_only_one() -> Result<Held, String> {
    let path = std::env::temp_dir().join(format!("held-{}", std::os::unix::process::parent_id()));
    let file = File::create(path).map_err(|error| error.to_string())?;
    file.try_lock().map_err(|error| error.to_string())?;
    // The others find the file locked before any of them is ready.
    std::thread::sleep(Duration::from_millis(100));
    Ok(Held(file))
}

#[function(max_workers = 4, setup = takes_the_only_one)]
fn needs_the_only_one(held: &Held, value: u64) -> u64 {
    assert!(held.0.metadata().is_ok());
    std::thread::sleep(Duration::from_millis(5));
    value
}

#[retry_runtime::test]
fn calls_wait_for_the_worker_that_could_start() {
    fixture(LIMIT, serves, || {
        let failed = needs_the_only_one
            .map(0..200)
            .into_iter()
            .filter_map(Result::err);
        let failed: Vec<_> = failed.collect();
        assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed[0]);
    });
}

fn needs_a_file() -> Result<(), String> {
    let path = std::env::var("NEEDED").map_err(|error| error.to_string())?;
    std::fs::metadata(path)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[function(max_workers = 1, setup = needs_a_file)]
fn starts_with_a_file(_state: &(), value: u64) -> u64 {
    value
}

#[retry_runtime::test]
fn a_map_recovers_from_failed_starts() {
    fixture(LIMIT, serves, || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("needed");
        let runtime = Runtime::builder().env("NEEDED", &path).build().unwrap();
        let inputs = (0..2000).inspect(|input| {
            // A slow source, and a file that appears in the middle.
            std::thread::sleep(Duration::from_millis(2));
            if *input == 200 {
                File::create(&path).unwrap();
            }
        });
        let results = starts_with_a_file.on(&runtime).map(inputs).window(20);
        let results: Vec<_> = results.into_iter().collect();
        let is_startup =
            |error: &CallError<_>| matches!(error, CallError::Startup(Startup::SetUp(_), _));
        assert!(
            results[0].as_ref().is_err_and(is_startup),
            "{:?}",
            results[0]
        );
        let failed = results.iter().filter(|result| result.is_err()).count();
        assert!(failed < 1500, "{failed} of 2000 failed");
        assert!(results[1999].is_ok(), "{:?}", results[1999]);
        runtime.shutdown(Duration::from_secs(5)).wait();
    });
}

#[test]
fn a_machine_with_few_descriptors_serves_with_few_workers() {
    fixture_outside(LIMIT, || {
        let output = limited("few-descriptors");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "2000 ok\n",
            "{said}"
        );
    });
}

#[test]
fn idle_workers_yield_their_places_to_other_services() {
    fixture_outside(LIMIT, || {
        let output = limited("many-services");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "150 ok\n",
            "{said}"
        );
    });
}

#[test]
fn all_services_together_keep_to_max_processes() {
    fixture_outside(LIMIT, || {
        let output = limited("few-processes");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "20 ok\n", "{said}");
    });
}

// ------------------------------------------------------------------ fairness

#[function(max_workers = 1)]
fn calls_another(millis: u64) -> u64 {
    takes.remote(millis).wait().expect("it does not fail")
}

#[retry_runtime::test]
fn a_map_does_not_keep_a_single_call_waiting() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let path = ledger.path();
        std::thread::scope(|scope| {
            let map = scope.spawn(|| {
                let inputs = (0..400).map(|input| (path.clone(), input));
                records
                    .map(inputs)
                    .into_iter()
                    .filter(Result::is_ok)
                    .count()
            });
            eventually("the map has begun", LIMIT, || ledger.total() > 10);
            for call in 1000..1010 {
                let before = ledger.total();
                records.remote(path.clone(), call).wait().unwrap();
                // Inputs that the two workers already held, and inputs that ran after the call.
                let waited_for = ledger.total() - before;
                assert!(waited_for < 40, "{waited_for} inputs came first");
            }
            assert_eq!(map.join().unwrap(), 400);
        });
    });
}

#[function(max_workers = 2)]
fn records(ledger: PathBuf, input: u64) {
    record(&ledger, input);
    std::thread::sleep(Duration::from_millis(10));
}

#[retry_runtime::test]
fn a_call_does_not_wait_for_a_worker_that_only_waits() {
    fixture(LIMIT, serves, || {
        calls_another.remote(1).wait().unwrap();
        let slow = calls_another.spawn(3000);
        // Another pool serves the inner call; the outer function has one worker.
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        let quick = calls_another.spawn(0);
        eventually(
            "the second one has begun",
            Duration::from_millis(2500),
            || workers().len() >= 4,
        );
        assert!(begun.elapsed() < Duration::from_millis(2500));
        assert_eq!(slow.wait().unwrap(), 3000);
        assert_eq!(quick.wait().unwrap(), 0);
    });
}

// ------------------------------------------------------------------ memory

const LARGE: usize = 4 << 20;

#[function(max_workers = 2)]
fn makes_much(index: u64, slow: u64) -> Vec<u8> {
    if index == slow {
        std::thread::sleep(Duration::from_secs(2));
    }
    vec![index as u8; LARGE]
}

/// Consumes a map of large results, slowly or with a slow first input, and returns the memory that this took.
fn consume(ordered: bool, slow: u64, runtime: &Runtime) -> u64 {
    const INPUTS: u64 = 150;
    let before = status("VmRSS:");
    let mut most = 0;
    let map = makes_much
        .on(runtime)
        .map((0..INPUTS).map(|index| (index, slow)));
    let map = if ordered { map } else { map.unordered() };
    let mut seen = [false; INPUTS as usize];
    for result in map {
        let value = result.unwrap();
        assert!(value == vec![value[0]; LARGE]);
        assert!(!std::mem::replace(&mut seen[value[0] as usize], true));
        if slow >= INPUTS {
            std::thread::sleep(Duration::from_millis(4));
        }
        most = most.max(status("VmRSS:"));
    }
    assert!(seen.iter().all(|seen| *seen));
    most.saturating_sub(before)
}

#[retry_runtime::test]
fn results_that_wait_for_their_consumer_are_limited() {
    fixture(LIMIT, serves, || {
        let limit = 32 << 20;
        let runtime = Runtime::builder().max_buffered(limit).build().unwrap();
        // 600 MB in total.
        for (ordered, slow) in [(true, 0), (true, 1000), (false, 1000)] {
            let most = consume(ordered, slow, &runtime);
            assert!(
                most < 200 << 20,
                "{most} bytes, ordered {ordered}, slow {slow}"
            );
        }
        runtime.shutdown(Duration::from_secs(5)).wait();
    });
}

#[function(max_workers = 1)]
fn consumes_in_a_worker(slow: u64) -> u64 {
    let runtime = Runtime::builder().build().expect("the parent's");
    consume(true, slow, &runtime)
}

#[retry_runtime::test]
fn results_of_a_nested_map_are_limited_in_the_worker() {
    fixture(LIMIT, serves, || {
        // The variable's default is 64 MiB.
        let most = consumes_in_a_worker.remote(0).wait().unwrap();
        assert!(most < 300 << 20, "{most} bytes");
    });
}

/// A service with many configurations, one after the other.
struct Named(String);

#[service(max_workers = 1, scaledown_window = "50ms")]
impl Named {
    /// Creates a service with a name.
    #[setup]
    fn new(name: String) -> Self {
        Self(name)
    }

    /// Returns the length of the name.
    #[method]
    fn length(&self) -> usize {
        self.0.len()
    }
}

#[retry_runtime::test]
fn configurations_that_are_not_used_any_more_take_no_memory() {
    fixture(LIMIT, serves, || {
        let name = |round: usize| format!("{round:0>8}").repeat(1 << 10);
        let mut after = Vec::new();
        for round in 0..600 {
            let named = Named::with(name(round));
            assert_eq!(named.length.remote().wait().unwrap(), 8 << 10);
            if round % 200 == 199 {
                after.push(status("RssAnon:"));
            }
        }
        // Each configuration alone has 8 KiB.
        let grown = after[2].saturating_sub(after[0]);
        assert!(
            grown < 2 << 20,
            "{grown} bytes in 400 configurations: {after:?}"
        );
    });
}
