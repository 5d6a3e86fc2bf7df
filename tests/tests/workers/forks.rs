//! Forks of the program and of its workers.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use retry_runtime::{CallError, Lost, Rejected, Runtime, function, service};
use retry_tests::{
    Forked, Process, descendants, eventually, fixture, fixture_async, fixture_outside, fork,
    fork_with,
};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(120);

/// Long enough for any event that occurs at all.
const SOON: Duration = Duration::from_secs(20);

#[function(max_workers = 2)]
fn echo(value: u64) -> u64 {
    value
}

#[function(max_workers = 2)]
fn slow(value: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(5));
    value
}

#[function(max_workers = 1)]
fn worker_pid() -> u32 {
    std::process::id()
}

fn serves() -> bool {
    echo.remote(1).wait().is_ok_and(|value| value == 1)
}

/// Shuts down the pool of a forked child, so that none of its workers is left.
fn end_pool() {
    retry_runtime::shutdown(Duration::from_secs(10)).wait();
}

fn ok(holds: bool) -> i32 {
    i32::from(!holds)
}

#[retry_runtime::test]
fn parent_and_child_get_their_own_results() {
    fixture(LIMIT, serves, || {
        let worker = worker_pid.remote().wait().unwrap();
        let children = [100u64, 200].map(|base| {
            fork_with(|| {
                let own = worker_pid.remote().wait().unwrap() != worker;
                let right =
                    (base..base + 100).all(|value| echo.remote(value).wait().unwrap() == value);
                let mapped = echo.map(base..base + 1000).into_iter().map(Result::unwrap);
                let mapped = mapped.eq(base..base + 1000);
                end_pool();
                ok(own && right && mapped)
            })
        });
        for value in 1000..2000 {
            assert_eq!(echo.remote(value).wait().unwrap(), value);
        }
        for child in children {
            assert_eq!(child.code(), Some(0));
        }
        assert_eq!(worker_pid.remote().wait().unwrap(), worker);
    });
}

#[retry_runtime::test]
fn a_child_of_a_child_has_its_own_pool() {
    fixture(LIMIT, serves, || {
        let child = fork_with(|| {
            let worker = worker_pid.remote().wait().unwrap();
            let grandchild = fork_with(|| {
                let own = worker_pid.remote().wait().unwrap() != worker;
                end_pool();
                ok(own)
            });
            let same = worker_pid.remote().wait().unwrap() == worker;
            let code = grandchild.code();
            end_pool();
            ok(same && code == Some(0))
        });
        assert_eq!(child.code(), Some(0));
    });
}

// The fixture's bystander calls continuously, so that locks are held at the moment of some fork.
#[retry_runtime::test]
fn a_fork_at_any_moment_harms_neither_side() {
    fixture(LIMIT, serves, || {
        for round in 0..40u64 {
            let mut map = slow.map(0..40);
            if round % 2 == 1 {
                map = map.unordered();
            }
            let mut results = map.indexed().into_iter();
            let (index, first) = results.next().unwrap();
            let first = first.unwrap();
            let calls: Vec<_> = (0..8).map(|value| echo.spawn(value)).collect();
            let child = fork_with(move || {
                let mut seen = BTreeSet::from([index]);
                for (index, result) in results {
                    assert!(seen.insert(index), "{index} came twice");
                    match result {
                        Ok(value) if value == index as u64 => {}
                        Err(CallError::Lost(Lost::Forked, _)) => {}
                        Err(CallError::Rejected(Rejected::Forked, _)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(seen.into_iter().eq(0..40));
                for (value, call) in (0..).zip(calls) {
                    match call.wait() {
                        Ok(answer) => assert_eq!(answer, value),
                        Err(CallError::Lost(Lost::Forked, _)) => {}
                        other => panic!("{other:?}"),
                    }
                }
                // Only every tenth child also starts a pool, since starting workers takes time.
                if round % 10 == 0 {
                    assert_eq!(echo.remote(round).wait().unwrap(), round);
                    end_pool();
                }
                0
            });
            // The child uses its copy of the map; the parent's was moved into the closure and dropped.
            assert!(first < 40);
            assert_eq!(echo.remote(round).wait().unwrap(), round);
            assert_eq!(child.code(), Some(0), "round {round}");
        }
    });
}

#[retry_runtime::test]
fn calls_under_way_go_on_in_the_parent() {
    fixture(LIMIT, serves, || {
        let mut ordered = slow.map(0..200).into_iter();
        assert_eq!(ordered.next().unwrap().unwrap(), 0);
        let mut spawned: Vec<_> = (0..50).map(|value| slow.spawn(value)).collect();
        let child = fork();
        if child.is_none() {
            drop(ordered);
            let cancelled = spawned.pop().unwrap();
            cancelled.cancel();
            assert!(matches!(
                spawned[49 - 1].get(Duration::from_secs(60)),
                Some(Err(CallError::Lost(Lost::Forked, _)))
            ));
            drop(spawned);
            let _ = fork_with(|| 0).code();
            std::process::abort();
        }
        let rest = ordered.map(Result::unwrap);
        assert!(rest.eq(1..200));
        for (value, call) in (0..).zip(spawned) {
            assert_eq!(call.wait().unwrap(), value);
        }
        // The child exited by itself, after all of its assertions.
        let pid = i32::try_from(child.unwrap()).ok().and_then(Pid::from_raw);
        let ended = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
        let (_, status) = ended.unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(6));
    });
}

#[retry_runtime::test]
async fn futures_and_streams_are_the_parents() {
    fixture_async(LIMIT, serves, async {
        use futures_util::StreamExt;
        let mut stream = slow.map(0..20).stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), 0);
        let mut call = Box::pin(slow.remote(7));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        let untouched = echo.remote(8);
        let child = fork_with(|| {
            futures_executor(async {
                assert!(matches!(call.await, Err(CallError::Lost(Lost::Forked, _))));
                assert!(matches!(
                    untouched.await,
                    Err(CallError::Rejected(Rejected::Forked, _))
                ));
                assert_eq!(stream.by_ref().count().await, 19);
            });
            0
        });
        assert_eq!(child.code(), Some(0));
    })
    .await;
}

/// Polls a future that never waits.
fn futures_executor(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_ready());
}

#[retry_runtime::test]
fn a_runtime_belongs_to_the_process_that_built_it() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().max_workers(1).build().unwrap();
        let mut events = runtime.events();
        assert_eq!(echo.on(&runtime).remote(1).wait().unwrap(), 1);
        let child = fork_with(|| {
            match echo.on(&runtime).remote(2).wait() {
                Err(error @ CallError::Rejected(Rejected::Forked, _)) => {
                    assert!(error.did_not_run());
                    assert!(error.to_string().contains("forked"), "{error}");
                }
                other => panic!("{other:?}"),
            }
            let mapped = echo.on(&runtime).map(0..10).into_iter();
            let refused = |result: &Result<_, _>| {
                matches!(result, Err(CallError::Rejected(Rejected::Forked, _)))
            };
            assert_eq!(mapped.filter(refused).count(), 10);
            assert!(events.next().is_none());
            assert!(runtime.events().next().is_none());
            assert_eq!(runtime.shutdown(Duration::from_secs(60)).wait(), []);
            drop((events, runtime));
            // A runtime created in the child works.
            let own = Runtime::builder().max_workers(1).build().unwrap();
            assert_eq!(echo.on(&own).remote(3).wait().unwrap(), 3);
            own.shutdown(Duration::from_secs(10)).wait();
            0
        });
        assert_eq!(child.code(), Some(0));
    });
}

#[retry_runtime::test]
fn an_iterator_of_inputs_may_fork() {
    fixture(LIMIT, serves, || {
        let mut child = None;
        let inputs = (0..100u64).inspect(|input| {
            if *input == 50 {
                child = fork();
                // The child continues in the middle of the map.
            }
        });
        let results: Vec<_> = echo.map(inputs).into_iter().collect();
        if child.is_none() {
            let lost = results.iter().filter(|result| result.is_err()).count();
            // The child must not continue the test.
            std::process::exit(ok(results.len() == 100 && lost > 0) + 40);
        }
        assert!(results.into_iter().map(Result::unwrap).eq(0..100));
        assert_eq!(Forked(child.unwrap()).code(), Some(40));
    });
}

/// The actions of a function in the child that it forks.
const RETURNS: u8 = 0;
const PANICS: u8 = 1;
const EXITS: u8 = 2;
const CALLS: u8 = 3;
const STAYS: u8 = 4;

fn fork_and(what: u8) -> u64 {
    print!("half a line");
    let Some(child) = fork() else {
        match what {
            PANICS => panic!("in the child"),
            EXITS => std::process::exit(7),
            CALLS => match echo.remote(5).wait() {
                Err(CallError::Rejected(Rejected::Forked, _)) => return 0,
                other => panic!("{other:?}"),
            },
            STAYS => loop {
                std::thread::sleep(Duration::from_secs(1000));
            },
            _ => return 0,
        }
    };
    let code = if what == STAYS {
        0
    } else {
        Forked(child).code().unwrap()
    };
    let expected = match what {
        PANICS => 101,
        EXITS => 7,
        _ => 0,
    };
    assert_eq!(code, expected);
    1
}

#[function(max_workers = 1, timeout = "10s")]
fn forks(what: u8) -> u64 {
    fork_and(what)
}

#[function(max_workers = 1, timeout = "10s")]
async fn forks_async(what: u8) -> u64 {
    std::future::ready(()).await;
    fork_and(what)
}

#[function(
    max_workers = 1,
    timeout = "10s",
    batch(max_size = 3, max_wait = "1ms")
)]
fn forks_in_batch(what: Vec<u8>) -> Vec<u64> {
    let first = fork_and(what[0]);
    what.iter().map(|_| first).collect()
}

fn set_up() -> u64 {
    fork_and(RETURNS)
}

#[function(max_workers = 1, setup = set_up)]
fn after_set_up(state: &u64) -> u64 {
    *state
}

struct Forks;

#[service(max_workers = 1)]
impl Forks {
    #[setup]
    fn new() -> Self {
        Self
    }

    #[method]
    fn method(&self) -> u64 {
        1
    }

    #[teardown]
    fn end(self) {
        fork_and(RETURNS);
    }
}

/// Returns whether all descendants are workers.
fn no_forks() -> bool {
    let descendants = descendants();
    let mut alive = descendants.iter().filter(|process| !process.is_zombie());
    alive.all(Process::is_worker)
}

#[retry_runtime::test]
fn a_function_that_forks_answers_once() {
    fixture(LIMIT, serves, || {
        for what in [RETURNS, PANICS, EXITS, CALLS] {
            for _ in 0..5 {
                assert_eq!(forks.remote(what).wait().unwrap(), 1, "{what}");
                assert_eq!(forks_async.remote(what).wait().unwrap(), 1, "{what}");
                assert_eq!(forks_in_batch.remote(what).wait().unwrap(), 1, "{what}");
            }
            let all = forks.map([what; 50]).into_iter().map(Result::unwrap);
            assert_eq!(all.sum::<u64>(), 50);
        }
        assert_eq!(after_set_up.remote().wait().unwrap(), 1);
        eventually("no fork is left", SOON, no_forks);
    });
}

#[retry_runtime::test]
fn a_teardown_may_fork() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().build().unwrap();
        let service = Forks::with().on(&runtime);
        assert_eq!(service.method.remote().wait().unwrap(), 1);
        assert_eq!(runtime.shutdown(Duration::from_secs(30)).wait(), []);
        eventually("no fork is left", SOON, no_forks);
    });
}

#[function(max_workers = 1)]
fn forks_or_hangs(what: Option<u8>) -> u64 {
    match what {
        Some(what) => fork_and(what),
        None => loop {
            std::thread::sleep(Duration::from_secs(1000));
        },
    }
}

#[retry_runtime::test]
fn timeouts_hold_after_a_function_has_forked() {
    fixture(LIMIT, serves, || {
        for what in [RETURNS, PANICS, EXITS, STAYS] {
            assert_eq!(forks_or_hangs.remote(Some(what)).wait().unwrap(), 1);
            let call = forks_or_hangs.remote(None);
            let error = call.timeout(Duration::from_millis(200)).wait().unwrap_err();
            assert!(matches!(error, CallError::TimedOut(..)), "{error:?}");
        }
        eventually("no fork is left", SOON, no_forks);
    });
}

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_forking"))
        .args(arguments.iter().map(|argument| format!("--{argument}")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns the first `count` lines that a program prints.
fn lines(program: &mut Child, count: usize) -> Vec<String> {
    let stdout = BufReader::new(program.stdout.take().unwrap());
    stdout.lines().take(count).map(Result::unwrap).collect()
}

fn signal(pid: &str, signal: Signal) {
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn a_daemon_ends_in_order_by_a_signal() {
    fixture_outside(LIMIT, || {
        for when in ["before", "after"] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let path = file.path().to_str().unwrap();
            let mut parent = program(&[
                "what=daemon",
                &format!("when={when}"),
                &format!("file={path}"),
            ]);
            let lines = lines(&mut parent, 1);
            assert!(parent.wait().unwrap().success());
            let daemon = lines[0].as_str();
            eventually("the daemon calls", SOON, || {
                std::fs::read_to_string(path).unwrap().contains("running")
            });
            signal(daemon, Signal::TERM);
            eventually("the daemon ends", SOON, || !is_alive(daemon));
            let text = std::fs::read_to_string(path).unwrap();
            // The running call ended within the grace period, and no other call was started.
            assert!(text.contains("ended"), "{text}");
            assert!(!text.contains("second"), "{text}");
        }
    });
}

#[test]
fn a_fork_that_makes_no_call_dies_of_a_signal() {
    fixture_outside(LIMIT, || {
        let mut parent = program(&["what=idle-fork"]);
        let lines = lines(&mut parent, 1);
        signal(&lines[0], Signal::TERM);
        // The parent reports how its child has ended, and continues.
        assert_eq!(parent.wait().unwrap().code(), Some(15));
    });
}

#[test]
fn a_fork_that_lives_on_keeps_no_worker_of_a_killed_parent() {
    fixture_outside(LIMIT, || {
        let mut parent = program(&["what=leave-fork"]);
        let lines = lines(&mut parent, 2);
        let (worker, child) = (&lines[0], &lines[1]);
        assert!(is_alive(worker) && is_alive(child));
        signal(&parent.id().to_string(), Signal::KILL);
        // A dead parent keeps its process ID until it is reaped.
        eventually("the worker ends", SOON, || !is_alive(worker));
        parent.wait().unwrap();
        assert!(is_alive(child), "it is the program's own business");
        signal(child, Signal::KILL);
        eventually("the child ends", SOON, || !is_alive(child));
    });
}

#[test]
fn a_fork_that_lives_on_costs_the_parent_no_time() {
    fixture_outside(LIMIT, || {
        let begun = Instant::now();
        let mut parent = program(&["what=closed-pipes"]);
        let lines = lines(&mut parent, 1);
        assert!(parent.wait().unwrap().success());
        // In clock ticks of a hundredth of a second.
        let ticks: u64 = lines[0].parse().unwrap();
        let elapsed = begun.elapsed().as_millis() / 10;
        assert!(ticks < 50, "{ticks} of {elapsed}");
    });
}
