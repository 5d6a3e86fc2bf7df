//! Faults of section H: concurrency. The numbers are those of the table in `docs/faults.md`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Barrier;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use retry_runtime::{CallError, EventKind, Events, Runtime, function};
use retry_tests::{Ledger, eventually, fixture, fixture_async, record, workers};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

#[function(max_workers = 2)]
fn doubles(ledger: Option<PathBuf>, value: u64) -> (u64, u32) {
    if let Some(ledger) = ledger {
        record(&ledger, value);
    }
    (value * 2, std::process::id())
}

// H1
#[retry_runtime::test]
async fn two_workers_serve_ten_thousand_calls_in_their_order() {
    fixture_async(LIMIT, serves, async {
        let ledger = Ledger::new();
        let calls = (0..10_000).map(|value| doubles.remote(Some(ledger.path()), value));
        let results = join_all(calls).await;
        let mut pids = BTreeSet::new();
        for (value, result) in (0..).zip(results) {
            let (doubled, pid) = result.unwrap();
            assert_eq!(doubled, value * 2);
            pids.insert(pid);
        }
        assert!(pids.len() <= 2, "{pids:?}");
        // Calls start in the order in which they were made, except for those that were already sent to a
        // worker.
        let entries = ledger.entries();
        assert_eq!(entries.len(), 10_000);
        for (position, entry) in (0..).zip(&entries) {
            assert!(
                entry.input.abs_diff(position) < 2048,
                "{position}: {entry:?}"
            );
        }
    })
    .await;
}

#[function(max_workers = 2)]
fn sleeps(ledger: PathBuf, milliseconds: u64) {
    record(&ledger, milliseconds);
    std::thread::sleep(Duration::from_millis(milliseconds));
}

// H4
#[retry_runtime::test]
fn dropping_ten_thousand_futures_costs_only_busy_workers() {
    const FIRST: u64 = 600_000;
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let mut events = retry_runtime::events();
        let mut calls: Vec<_> = (FIRST..FIRST + 10_000)
            .map(|input| Some(Box::pin(sleeps.remote(ledger.path(), input).into_future())))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for call in calls.iter_mut().flatten() {
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
        eventually("two run", Duration::from_secs(20), || ledger.total() == 2);
        // A worker that is killed for a dropped call is replaced at once, and its successor begins any call that
        // is left. So the two calls that run are dropped last.
        let running: Vec<_> = ledger
            .entries()
            .iter()
            .map(|entry| calls[usize::try_from(entry.input - FIRST).unwrap()].take())
            .collect();
        drop(calls);
        let killed = workers_down(&mut events);
        assert_eq!(killed, 0, "for calls that did not run");
        let begun = Instant::now();
        drop(running);
        sleeps.remote(ledger.path(), 1).wait().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        let mut killed = 0;
        eventually("two workers end", Duration::from_secs(5), || {
            killed += workers_down(&mut events);
            killed >= 2
        });
        assert_eq!(killed, 2, "for the calls that ran");
        assert_eq!(ledger.total(), 3);
    });
}

/// Returns how many workers of `sleeps` have ended, by the events that have arrived.
fn workers_down(events: &mut Events) -> usize {
    std::iter::from_fn(|| events.try_next())
        .filter(|event| {
            matches!(event.kind, EventKind::WorkerDown { .. }) && event.function == sleeps.name()
        })
        .count()
}

// H6
#[retry_runtime::test]
fn a_call_whose_handle_is_dropped_runs_all_the_same() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        for value in 0..100 {
            drop(doubles.spawn(Some(ledger.path()), value));
        }
        eventually("all ran", Duration::from_secs(20), || ledger.total() == 100);
    });
}

fn flavour(number: usize) -> tokio::runtime::Runtime {
    let mut builder = match number {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    // Signals are not enabled: the runtime would keep their descriptors for ever.
    builder.worker_threads(2).enable_time().build().unwrap()
}

#[retry_runtime::test]
fn eight_threads_three_async_runtimes_and_none_call_at_once() {
    fixture(LIMIT, serves, || {
        let barrier = Barrier::new(8 + 3 + 1);
        let call = |value: u64| {
            let (doubled, _) = doubles.remote(None, value).wait().unwrap();
            assert_eq!(doubled, value * 2);
        };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (barrier, call) = (&barrier, &call);
                scope.spawn(move || {
                    barrier.wait();
                    (0..100).for_each(|number| call(thread * 1000 + number));
                });
            }
            for number in 0..3 {
                let barrier = &barrier;
                scope.spawn(move || {
                    let runtime = flavour(number);
                    barrier.wait();
                    let results = runtime.block_on(join_all((0..100).map(|value| {
                        let task = async move { doubles.remote(None, value).await.unwrap().0 };
                        runtime.spawn(task)
                    })));
                    for (value, result) in (0..).zip(results) {
                        assert_eq!(result.unwrap(), value * 2);
                    }
                    // The runtime is dropped together with a task whose call may be pending.
                    runtime.spawn(async { doubles.remote(None, 1).await });
                });
            }
            barrier.wait();
            (0..100).for_each(call);
        });
    });
}

#[function(single_use_workers)]
fn own_pid() -> u32 {
    std::process::id()
}

// D8
#[retry_runtime::test]
fn a_thousand_workers_that_come_and_go_leave_nothing() {
    // The fixture counts descriptors, threads and zombies before and after.
    fixture(LIMIT, serves, || {
        let pids: BTreeSet<u32> = own_pid
            .map([(); 1000])
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(pids.len(), 1000, "each call had a process of its own");
    });
}

#[function(crash_limit = retry_runtime::CrashLimit::unlimited(), at_most_once)]
fn crashes() {
    std::process::abort();
}

// H13
#[retry_runtime::test]
async fn a_caller_woken_by_a_crash_may_make_calls_that_crash() {
    fixture_async(LIMIT, serves, async {
        fn after_a_crash(left: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
            Box::pin(async move {
                let error = crashes.remote().await.unwrap_err();
                assert!(matches!(error, CallError::Crashed(..)), "{error:?}");
                match left {
                    0 => 1,
                    _ => 1 + after_a_crash(left - 1).await,
                }
            })
        }
        let chains: Vec<u32> = join_all((0..4).map(|_| after_a_crash(5))).await;
        assert_eq!(chains, [6; 4]);
    })
    .await;
}

#[function(max_workers = 4, scaledown_window = "1ms")]
fn comes_and_goes(value: u64) -> u64 {
    value
}

// H15
#[retry_runtime::test]
fn no_call_is_lost_while_workers_come_and_go() {
    fixture(LIMIT, serves, || {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let size = random.u64(1..8);
            let calls: Vec<_> = (0..size)
                .map(|n| comes_and_goes.spawn(round * 10 + n))
                .collect();
            for (number, call) in (0..).zip(calls) {
                assert_eq!(call.wait().unwrap(), round * 10 + number);
            }
            // At about the time when the workers exit.
            std::thread::sleep(Duration::from_micros(random.u64(0..3000)));
        }
        eventually("they end", Duration::from_secs(5), || workers().len() <= 2);
    });
}

#[function]
fn holds(ledger: PathBuf) -> u32 {
    record(&ledger, 1);
    eventually("all run", LIMIT, || {
        std::fs::read_to_string(&ledger).is_ok_and(|text| text.lines().count() == 64)
    });
    std::process::id()
}

// H16
#[retry_runtime::test]
fn sixty_four_workers_may_be_asked_for_on_two_cores() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let runtime = Runtime::builder().max_workers(64).build().unwrap();
        let inputs = (0..64).map(|_| ledger.path());
        let pids: BTreeSet<u32> = holds
            .on(&runtime)
            .map(inputs)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(pids.len(), 64);
        runtime.shutdown(Duration::from_secs(20)).wait();
    });
}
