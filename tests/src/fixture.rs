//! The fixture: checks after every test that nothing is left over.
//!
//! Each test runs in a process of its own, so that its descriptors, threads and memory can be measured even
//! where the harness runs several tests at once. After the test, the process has the descriptors and threads
//! from before, exactly those of the engine and of the workers that the pool keeps, no other descendants, and
//! about as much memory as before. The pool still serves calls, and has served them throughout.

use std::any::type_name;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use retry_runtime::function;

use crate::system::{
    Process, descendants, descriptors, dump, eventually, is_standby, kill_with, processes_with,
    reap, resident, return_free_memory, threads,
};

/// Set in the process of a test: identifies the descendants of that process.
const TOKEN: &str = "FIXTURE_TOKEN";

/// Set in the process of a test: the conditions under which the test runs.
const CONDITIONS: &str = "FIXTURE_CONDITIONS";

/// Set in the process of a test that is expected to fail: the time to settle, in milliseconds.
const PATIENCE: &str = "FIXTURE_PATIENCE";

/// Descriptors that the engine keeps after a first call: its epoll instance and its bell.
const ENGINE_DESCRIPTORS: usize = 2;

/// Descriptors that the engine keeps for each worker: its ends of the two sockets, the process descriptor,
/// and the reading ends of the worker's two output streams. The shared memory is mapped, not held open.
const WORKER_DESCRIPTORS: usize = 5;

/// Descriptors for the standby process, which has not yet received the shared memory and the other end of the
/// second socket.
const STANDBY_DESCRIPTORS: usize = 7;

/// The threads of the engine.
const ENGINE_THREADS: [&str; 2] = ["retry-io", "retry-spawner"];

/// Memory that may remain after a test; a tenth of the memory before the test applies where that is more. The
/// buffers of the I/O thread grow to 4 MiB for the largest messages, the allocator does not return all memory that
/// is free, and each thread that ever allocated has an arena.
const MEMORY_FLOOR: u64 = 16 * 1024 * 1024;

/// The time within which all checks must pass: killed processes take a moment to exit.
const SETTLED: Duration = Duration::from_secs(5);

/// The same limit for tests whose checks are expected to fail.
const REFUSED: Duration = Duration::from_millis(500);

thread_local! {
    static REFUSES: Cell<bool> = const { Cell::new(false) };
}

/// The conditions under which a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditions {
    /// No restrictions.
    Free,
    /// All threads and workers run on one CPU.
    OneCpu,
    /// Two busy threads per CPU compete with the test.
    Crowded,
}

impl Conditions {
    /// All conditions.
    pub const ALL: [Self; 3] = [Self::Free, Self::OneCpu, Self::Crowded];

    /// Returns how many of `most` rounds a test runs under the conditions of its process: a quarter in a crowd, where a
    /// round takes three times as long and the tests beside it have to wait.
    #[must_use]
    pub fn rounds(most: u32) -> u32 {
        match Self::current() {
            Some(Self::Crowded) => most / 4,
            _ => most,
        }
    }

    /// Returns the conditions under which this process was started.
    fn current() -> Option<Self> {
        let given = std::env::var(CONDITIONS).ok()?;
        Self::ALL
            .into_iter()
            .find(|conditions| format!("{conditions:?}") == given)
    }

    /// Applies the conditions to this thread and to all threads and processes that it starts. `Crowded` lasts
    /// until the result is dropped.
    fn apply(self) -> Crowd {
        let mut busy = 0;
        match self {
            Self::Free => {}
            Self::OneCpu => {
                let allowed = rustix::thread::sched_getaffinity(None).expect("an affinity");
                let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
                let mut one = rustix::thread::CpuSet::new();
                one.set(first.expect("a CPU"));
                // The runtime's threads and workers take the affinity of the main thread.
                for thread in [None, Some(rustix::process::getpid())] {
                    rustix::thread::sched_setaffinity(thread, &one).expect("one of its own CPUs");
                }
            }
            Self::Crowded => {
                busy = 2 * std::thread::available_parallelism().map_or(1, usize::from);
            }
        }
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..busy)
            .map(|_| {
                let over = Arc::clone(&over);
                thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        Crowd { over, threads }
    }
}

/// Threads that keep the CPUs busy until this value is dropped.
struct Crowd {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Runs a test of the runtime in a process of its own, and checks that:
///
/// - the test ended within `limit`; if not, the state of every thread and process is printed;
/// - while the test ran, another function served without a single failure, and afterwards `serves` succeeds;
/// - every process that descends from this one is a worker that the pool keeps, or its standby process;
/// - descriptors and threads are those from before, and exactly those of the engine and of these workers;
/// - memory is about the same as before.
///
/// `serves` is also called before the test, so that first uses do not count. The name of the test is derived
/// from the type of `test`, which must therefore be a closure in the test itself.
///
/// # Panics
///
/// If one of these checks fails.
pub fn fixture<T: FnOnce()>(limit: Duration, serves: impl Fn() -> bool, test: T) {
    fixture_under(&[Conditions::Free], limit, serves, test);
}

/// Runs a test like [`fixture`], once under each of these conditions.
///
/// # Panics
///
/// If one of its checks fails.
pub fn fixture_under<T: FnOnce()>(
    conditions: &[Conditions],
    limit: Duration,
    serves: impl Fn() -> bool,
    test: T,
) {
    if let Some(conditions) = entered::<T>(conditions) {
        let fixture = Fixture::begin(type_name::<T>(), conditions, limit, Some(&serves));
        test();
        fixture.end(Some(&serves));
    }
}

/// Runs an async test like [`fixture`].
///
/// # Panics
///
/// If one of its checks fails.
pub async fn fixture_async<F: Future<Output = ()>>(
    limit: Duration,
    serves: impl Fn() -> bool + Sync,
    test: F,
) {
    // This thread drives the runtime, so another one calls `serves`, which blocks.
    let serves = || thread::scope(|scope| scope.spawn(&serves).join().expect("it does not panic"));
    if let Some(conditions) = entered::<F>(&[Conditions::Free]) {
        let fixture = Fixture::begin(type_name::<F>(), conditions, limit, Some(&serves));
        test.await;
        fixture.end(Some(&serves));
    }
}

/// Runs a test that starts programs and makes no calls itself, in a process of its own.
///
/// # Panics
///
/// If the test leaves anything behind.
pub fn fixture_outside<T: FnOnce()>(limit: Duration, test: T) {
    if let Some(conditions) = entered::<T>(&[Conditions::Free]) {
        let fixture = Fixture::begin(type_name::<T>(), conditions, limit, None);
        test();
        fixture.end(None);
    }
}

/// Runs a test that the fixture has to refuse, with `expected` in the message.
///
/// # Panics
///
/// If the test passes, or fails for another reason.
pub fn refused(expected: &str, test: impl FnOnce()) {
    if Conditions::current().is_some() {
        return test();
    }
    REFUSES.set(true);
    let result = catch_unwind(AssertUnwindSafe(test));
    REFUSES.set(false);
    let panic = result.expect_err("the fixture must refuse this");
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(message.contains(expected), "{expected:?} not in: {message}");
}

/// Returns the conditions in the process of a test. In any other process, runs the test in such processes.
fn entered<T>(conditions: &[Conditions]) -> Option<Conditions> {
    let current = Conditions::current();
    if current.is_none() {
        // For example `calls::some_test::{{closure}}`; the harness names tests without their crate.
        let path = type_name::<T>();
        let path = path.split("::{{closure}}").next().unwrap_or(path);
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        for conditions in conditions {
            run_in_a_process_of_its_own(name, *conditions);
        }
    }
    current
}

fn run_in_a_process_of_its_own(name: &str, conditions: Conditions) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let token = format!("{}-{number}", std::process::id());
    // Use a file, not a pipe: a stray process could keep a pipe open for ever.
    let mut output = tempfile::tempfile().expect("a temporary file");
    let stream = || Stdio::from(output.try_clone().expect("a copy of a descriptor"));
    let begun = Instant::now();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    if REFUSES.get() {
        command.env(PATIENCE, REFUSED.as_millis().to_string());
    }
    let status = command
        .args(["--exact", name])
        .args(["--nocapture", "--include-ignored", "--test-threads=1"])
        .env(TOKEN, &token)
        .env(CONDITIONS, format!("{conditions:?}"))
        // Without these settings the allocator adapts to large messages and keeps their memory.
        .env(
            "GLIBC_TUNABLES",
            "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072",
        )
        // The backtrace of an expected panic would load the names of all functions, which looks like a leak.
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(stream())
        .stderr(stream())
        .status()
        .expect("the test binary can be started");
    let mut text = Vec::new();
    output.rewind().expect("a file can be rewound");
    output.read_to_end(&mut text).expect("a file can be read");
    let text = String::from_utf8_lossy(&text);
    let token = format!("{TOKEN}={token}");
    if !status.success() {
        // Processes left behind by a failed test must not disturb the next one.
        kill_with(&token);
    }
    assert!(
        status.success() && text.contains("test result: ok. 1 passed"),
        "{name} ({conditions:?}) failed: {status}\n{text}"
    );
    eprintln!("{text}{name} ({conditions:?}): {:?}", begun.elapsed());
    eventually("no process outlives its test", SETTLED, || {
        processes_with(&token).is_empty()
    });
}

/// Serves calls continuously while a test runs. It sleeps, so that a call is executing at nearly every moment
/// while the CPUs are left to the test.
#[function(max_workers = 1)]
fn bystander(value: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(1));
    value
}

fn bystander_serves(value: u64) -> Result<(), String> {
    match bystander.remote(value).wait() {
        Ok(answer) if answer == value => Ok(()),
        Ok(answer) => Err(format!("{answer} instead of {value}")),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// A thread that calls continuously, so that calls are in flight at every moment of a test.
struct Bystander {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Bystander {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut calls = 0;
            while !told.load(Ordering::Relaxed) {
                bystander_serves(calls).map_err(|error| format!("call {calls}: {error}"))?;
                calls += 1;
            }
            Ok(calls)
        });
        Self { over, thread }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.join().expect("it does not panic") {
            Ok(calls) => eprintln!("fixture: {calls} calls of a bystander succeeded"),
            Err(error) => panic!("a call in flight during the test failed: {error}"),
        }
    }
}

/// Ends the process when the test takes too long, unless this value is dropped before.
struct Watch(#[expect(dead_code, reason = "it is dropped")] Sender<()>);

impl Watch {
    fn start(name: &'static str, limit: Duration) -> Self {
        let (alive, over) = channel::<()>();
        thread::spawn(move || {
            if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "{name} hangs: a call was not resolved within {limit:?}\n{}",
                    dump()
                );
                std::process::abort();
            }
        });
        Self(alive)
    }
}

type Serves<'a> = &'a dyn Fn() -> bool;

struct Fixture {
    descriptors: Vec<String>,
    threads: Vec<String>,
    memory: u64,
    bystander: Option<Bystander>,
    // Dropped last.
    _crowd: Crowd,
    _watch: Watch,
}

impl Fixture {
    fn begin(
        name: &'static str,
        conditions: Conditions,
        limit: Duration,
        serves: Option<Serves<'_>>,
    ) -> Self {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .expect("any process may");
        let watch = Watch::start(name, limit);
        let crowd = conditions.apply();
        // Wait until the threads have set their names: they are counted by name.
        std::thread::yield_now();
        let mut fixture = Self {
            descriptors: descriptors(),
            threads: threads(),
            memory: 0,
            bystander: None,
            _crowd: crowd,
            _watch: watch,
        };
        if let Some(serves) = serves {
            assert!(serves(), "the pool does not even serve before the test");
            // The thread of an async test drives a runtime, so it must not block.
            let served = thread::scope(|scope| scope.spawn(|| bystander_serves(0)).join());
            assert_eq!(served.expect("it does not panic"), Ok(()));
            fixture.threads.extend(ENGINE_THREADS.map(str::to_owned));
            fixture.threads.sort();
            // The first backtrace, if backtraces are enabled, loads the debug information into memory.
            drop(Backtrace::capture().to_string());
            fixture.memory = resident();
            // Check that the constants derived from the code are right.
            fixture.settle(ENGINE_DESCRIPTORS);
            fixture.bystander = Some(Bystander::start());
        }
        fixture.memory = resident();
        fixture
    }

    fn end(mut self, serves: Option<Serves<'_>>) {
        let mut engine = 0;
        if let Some(serves) = serves {
            engine = ENGINE_DESCRIPTORS;
            assert!(serves(), "the pool does not serve any more");
            if let Some(calls) = self.bystander.take() {
                calls.end();
            }
        }
        self.settle(engine);
    }

    /// Waits until everything is as it was before the test.
    fn settle(&self, engine: usize) {
        let given = std::env::var(PATIENCE).ok().and_then(|ms| ms.parse().ok());
        let patience = given.map_or(SETTLED, Duration::from_millis);
        let until = Instant::now() + patience;
        while let Some(wrong) = self.wrong(engine) {
            assert!(
                Instant::now() < until,
                "not within {patience:?}: {wrong}\n{}",
                dump()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns a description of the first difference.
    fn wrong(&self, engine: usize) -> Option<String> {
        let (workers, others): (Vec<Process>, Vec<Process>) =
            descendants().into_iter().partition(Process::is_worker);
        let now = descriptors();
        let threads = threads();
        for process in &others {
            if process.is_zombie() && (engine == 0 || is_adopted(process)) {
                reap(process.pid);
            }
        }
        if !others.is_empty() {
            return Some(format!("processes that are no workers: {others:?}"));
        }
        if engine == 0 && !workers.is_empty() {
            return Some(format!("workers without an engine: {workers:?}"));
        }
        let standbys = workers.iter().filter(|one| is_standby(one.pid)).count();
        let served = WORKER_DESCRIPTORS * (workers.len() - standbys);
        let expected = self.descriptors.len() + engine + served + STANDBY_DESCRIPTORS * standbys;
        if now.len() != expected {
            return Some(format!(
                "{} descriptors instead of {expected}, with {} workers of which {standbys} are standbys; \
                 before: {:?}; now: {now:?}",
                now.len(),
                workers.len(),
                self.descriptors
            ));
        }
        if threads != self.threads {
            return Some(format!("threads {threads:?} instead of {:?}", self.threads));
        }
        let most = self.memory + (self.memory / 10).max(MEMORY_FLOOR);
        if resident() > most {
            return_free_memory();
        }
        let memory = resident();
        (memory > most).then(|| format!("{memory} bytes resident, which were {}", self.memory))
    }
}

/// Returns whether a zombie was started by a worker and was reparented to this process when that worker died.
/// Workers lead groups of their own in this process's session, whereas children of a test are in this
/// process's group.
fn is_adopted(process: &Process) -> bool {
    let own = rustix::process::getpgrp().as_raw_nonzero().get();
    let left = process.group != process.pid || process.session == process.pid;
    left && i32::try_from(process.group) != Ok(own)
}
