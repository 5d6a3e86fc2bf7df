//! Maps: order, windows, recalled inputs, and input iterators that misbehave.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use retry_runtime::{CallError, Indexed, Map, Retries, function};
use retry_tests::{Ledger, fixture, fixture_async, record, seeded};
use serde::{Deserialize, Serialize};

const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} is unlucky")]
struct Unlucky(u64);

#[function]
fn double(number: u64) -> Result<u64, Unlucky> {
    if number == 13 {
        Err(Unlucky(13))
    } else {
        Ok(number * 2)
    }
}

#[function]
fn add(a: u64, b: &str) -> u64 {
    a + b.len() as u64
}

#[function(max_workers = 2)]
fn naps(ledger: PathBuf, input: u64, millis: u64) -> u64 {
    record(&ledger, input);
    std::thread::sleep(Duration::from_millis(millis));
    input
}

fn serves() -> bool {
    double.remote(1).wait().is_ok_and(|value| value == 2)
}

#[retry_runtime::test]
fn results_and_errors_come_in_the_order_of_the_inputs() {
    fixture(LIMIT, serves, || {
        for (input, result) in (0..5000).zip(double.map(0..5000)) {
            match result {
                Ok(value) => assert_eq!(value, input * 2),
                Err(CallError::Function(Unlucky(13), context)) => {
                    assert_eq!(input, 13);
                    assert_eq!(context.input_index(), Some(13));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(double.map([0; 0]).into_iter().count(), 0);
        let sums: Vec<u64> = add
            .map([(1, "a".to_owned()), (2, "bb".to_owned())])
            .try_collect()
            .wait()
            .unwrap();
        assert_eq!(sums, [2, 4]);
    });
}

#[retry_runtime::test]
async fn a_map_can_be_awaited_streamed_and_collected() {
    fixture_async(LIMIT, serves, async {
        let all = double.map(10..20).await;
        assert_eq!(all.len(), 10);
        assert!(all[3].is_err());
        let mut stream = double.map(0..10).stream();
        let mut next = 0;
        while let Some(result) = stream.next().await {
            assert_eq!(result.unwrap(), next * 2);
            next += 1;
        }
        let mut any: Vec<u64> = double
            .map(0..10)
            .unordered()
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        any.sort_unstable();
        assert_eq!(any, (0..10).map(|n| n * 2).collect::<Vec<_>>());
        let error = double
            .map(0..100_000)
            .try_collect::<Vec<u64>>()
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Function(Unlucky(13), _)));
        double.for_each(20..40).await.unwrap();
        assert!(double.for_each(0..40).await.is_err());
    })
    .await;
}

#[retry_runtime::test]
fn a_map_is_lazy_and_takes_no_more_than_its_window() {
    fixture(LIMIT, serves, || {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let inputs = (0..).inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let map = double.map(inputs).window(10);
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        let mut results = map.into_iter();
        for handed_out in 1..=5 {
            results.next().unwrap().unwrap();
            assert!(taken.load(Ordering::Relaxed) <= handed_out + 10);
        }
    });
}

#[retry_runtime::test]
fn a_slow_input_does_not_strand_those_behind_it() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        // Fast inputs first, so that each worker is sent many inputs ahead.
        let inputs = (0..2000).map(|input| {
            let millis = if input == 1000 { 3000 } else { 0 };
            (ledger.path(), input, millis)
        });
        let begun = Instant::now();
        let mut others = 0;
        for result in naps.map(inputs).unordered() {
            if result.unwrap() != 1000 {
                others += 1;
                if others == 1999 {
                    assert!(
                        begun.elapsed() < Duration::from_millis(2900),
                        "{:?}",
                        begun.elapsed()
                    );
                }
            }
        }
        assert!(
            ledger
                .executions()
                .values()
                .all(|executions| *executions == 1)
        );
        assert_eq!(ledger.total(), 2000);
    });
}

#[retry_runtime::test]
fn an_input_iterator_that_panics_does_so_at_its_position() {
    fixture(LIMIT, serves, || {
        let inputs = (100..).inspect(|input| assert!(*input != 150, "no more inputs"));
        let mut results = double.map(inputs).into_iter();
        for input in 100..150 {
            assert_eq!(results.next().unwrap().unwrap(), input * 2);
        }
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next()));
        assert!(panic.is_err());
    });
}

#[retry_runtime::test]
fn a_dropped_map_cancels_what_is_outstanding() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs = (0..1000).map(|input| (ledger.path(), input, 20));
        let mut results = naps.map(inputs).into_iter();
        results.next().unwrap().unwrap();
        drop(results);
        let after = ledger.total();
        assert_eq!(naps.remote(ledger.path(), 5000, 0).wait().unwrap(), 5000);
        std::thread::sleep(Duration::from_millis(200));
        assert!(
            ledger.total() <= after + 3,
            "{} after {after}",
            ledger.total()
        );
    });
}

#[retry_runtime::test]
fn large_inputs_travel_in_both_directions_at_once() {
    #[function]
    fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }
    fixture(LIMIT, serves, || {
        let inputs = (0..100u8).map(|first| {
            let mut bytes = vec![0; 1 << 20];
            bytes[0] = first;
            bytes
        });
        for (first, result) in (0..).zip(reversed.map(inputs)) {
            let bytes: Vec<u8> = result.unwrap();
            assert_eq!((bytes.len(), bytes.last()), (1 << 20, Some(&first)));
        }
    });
}

/// Panics when decoded, if so constructed. It does not panic in a worker: in debug builds, the first value of
/// a type is decoded there as a round-trip check.
#[derive(Debug, PartialEq, Serialize)]
struct Touchy(u64);

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if retry_runtime::current().is_none() {
            assert_ne!(number % 10, 3, "touched");
        }
        Ok(Self(number))
    }
}

#[function]
fn touchy(number: u64) -> Touchy {
    Touchy(number)
}

#[retry_runtime::test]
fn a_result_that_panics_where_it_is_decoded_is_one_result() {
    fixture(LIMIT, serves, || {
        // Where backtraces are enabled, those of these panics would take memory that counts as a leak.
        std::panic::set_hook(Box::new(|_| {}));
        for ordered in [true, false] {
            let map = touchy.map(0..1000);
            let map = if ordered { map } else { map.unordered() };
            let mut results = map.into_iter();
            let (mut values, mut panics) = (0, 0);
            loop {
                match catch_unwind(AssertUnwindSafe(|| results.next())) {
                    Ok(Some(value)) => {
                        assert_ne!(value.unwrap().0 % 10, 3);
                        values += 1;
                    }
                    Ok(None) => break,
                    Err(_) => panics += 1,
                }
                assert!(values + panics <= 1000);
            }
            assert_eq!((values, panics), (900, 100));
        }
    });
}

#[function(max_workers = 1)]
fn large_or_none(bytes: usize) -> Result<Vec<u8>, Unlucky> {
    if bytes == 0 {
        Err(Unlucky(0))
    } else {
        Ok(vec![0; bytes])
    }
}

/// Wakes a thread, and blocks for a while the first time.
struct Slow {
    thread: Thread,
    waits: AtomicBool,
}

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        if self.waits.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_secs(3));
        }
        self.thread.unpark();
    }
}

#[retry_runtime::test]
fn the_wait_of_a_result_for_room_is_not_charged_to_the_next() {
    fixture(LIMIT, serves, || {
        // Once the function is known to be fast, its inputs are sent together.
        assert_eq!(large_or_none.map([1; 1000]).into_iter().count(), 1000);
        let inputs = [300_000, 0].into_iter().cycle().take(16);
        let mut results = pin!(large_or_none.map(inputs).stream());
        // While the waker blocks, no thread receives results.
        let waker = Waker::from(Arc::new(Slow {
            thread: std::thread::current(),
            waits: AtomicBool::new(true),
        }));
        let mut context = Context::from_waker(&waker);
        let mut failed = 0;
        loop {
            match results.as_mut().poll_next(&mut context) {
                Poll::Pending => std::thread::park(),
                Poll::Ready(Some(Err(error))) => {
                    let [attempt] = error.context().attempts() else {
                        panic!("{error:?}");
                    };
                    assert!(attempt.duration < Duration::from_secs(1), "{attempt:?}");
                    failed += 1;
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => break,
            }
        }
        assert_eq!(failed, 8);
    });
}

#[function(max_workers = 1, retries = Retries::fixed(1, Duration::from_secs(1)))]
fn small_ones_later(bytes: Vec<u8>) -> Result<usize, String> {
    let attempt = retry_runtime::current().map_or(0, |call| call.attempt());
    if bytes.len() == 1 && attempt == 1 {
        Err("later".to_owned())
    } else {
        Ok(bytes.len())
    }
}

/// Returns the number of bytes of address space that this process uses.
fn address_space() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

#[retry_runtime::test]
fn a_small_input_does_not_keep_the_room_of_a_large_one() {
    const LARGE: usize = 4 * 1024 * 1024;
    const PAIRS: usize = 100;
    fixture(LIMIT, serves, || {
        let sizes = [LARGE, 1].into_iter().cycle().take(2 * PAIRS);
        // Too slow for two inputs to be sent together.
        let inputs = sizes.map(|size| {
            std::thread::sleep(Duration::from_millis(1));
            vec![1; size]
        });
        let before = address_space();
        let mut most = 0;
        for result in small_ones_later.map(inputs).unordered() {
            result.unwrap();
            most = most.max(address_space());
        }
        assert!(most < before + PAIRS * LARGE * 3 / 4, "{before}, {most}");
    });
}

/// Succeeds or fails after this many milliseconds.
#[function(max_workers = 2)]
fn takes(millis: u64, fails: bool) -> Result<u64, String> {
    if millis > 0 {
        std::thread::sleep(Duration::from_millis(millis));
    }
    if fails {
        return Err(String::from("as it was told"));
    }
    Ok(millis)
}

/// A slow input causes the fast ones behind it to be recalled, after which its worker is idle.
#[retry_runtime::test]
fn a_failure_tells_of_its_own_time_and_not_of_a_pause_before_it() {
    const PAUSE: Duration = Duration::from_millis(1200);
    fixture(LIMIT, serves, || {
        seeded(5, |random, _| {
            let slow = random.u64(200..2000);
            let inputs = (0..4000).map(|input| (if input == slow { 100 } else { 0 }, false));
            assert!(takes.map(inputs).into_iter().all(|result| result.is_ok()));
            std::thread::sleep(PAUSE);
            // One call for each worker.
            let calls: Vec<_> = (0..2).map(|_| takes.spawn(50, true)).collect();
            for error in retry_runtime::join(calls)
                .wait()
                .into_iter()
                .map(Result::unwrap_err)
            {
                for attempt in error.context().attempts() {
                    assert!(attempt.duration < PAUSE, "{:?}", attempt.duration);
                }
            }
        });
    });
}

/// Fast for most inputs, so that hundreds of inputs are sent ahead. The results of the others are large
/// enough for a few hundred to fill the ring, and small enough to be sent inline.
#[function(max_workers = 1, at_most_once)]
fn some_kibibytes(number: u64) -> Vec<u8> {
    let mut bytes = std::process::id().to_le_bytes().to_vec();
    if number % 1000 > 500 {
        bytes.resize(4000, 200);
    }
    bytes
}

#[retry_runtime::test]
fn a_worker_whose_results_wait_for_room_is_left_alone() {
    fixture(Duration::from_secs(120), serves, || {
        let first = some_kibibytes.remote(0).wait().unwrap();
        // While this process is stopped, it receives nothing.
        let stops = "for _ in 1 2 3 4 5; do kill -STOP $PPID; sleep 0.05; kill -CONT $PPID; sleep 0.05; done";
        let mut stops = Command::new("sh").args(["-c", stops]).spawn().unwrap();
        let mut results = some_kibibytes.map(0..).into_iter();
        while stops.try_wait().unwrap().is_none() {
            let result = results.next().unwrap().unwrap();
            assert_eq!(result[..4], first[..4], "another worker's");
        }
    });
}

/// `at_most_once`, so that the loss of a worker shows as an error.
#[function(max_workers = 2, at_most_once)]
fn turns_back(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.reverse();
    bytes.resize(length, 200);
    bytes
}

#[retry_runtime::test]
fn values_of_any_size_come_as_they_are_and_cost_no_worker() {
    // Sizes of headers, of values sent inline, of values with memory of their own, and of the ring.
    const EDGES: [usize; 6] = [0, 24, 4096, 64 * 1024, 512 * 1024, 1024 * 1024];
    const IN_A_ROUND: usize = 2 * 1024 * 1024;
    fixture(Duration::from_secs(120), serves, || {
        seeded(20, |random, _| {
            let mut edge = || EDGES[random.usize(..EDGES.len())];
            let (taken, given) = (edge(), edge());
            let count = (IN_A_ROUND / (taken + given + 1)).clamp(1, 5000);
            let mut size = |edge: usize| match random.bool() {
                true => random.usize(..=edge),
                false => (edge + random.usize(..40)).saturating_sub(20),
            };
            let inputs: Vec<_> = (0..count)
                .map(|number| (vec![number as u8; size(taken)], size(given)))
                .collect();
            let results = turns_back.map(inputs.clone());
            for ((mut bytes, length), result) in inputs.into_iter().zip(results) {
                bytes.resize(length, 200);
                assert!(result.unwrap() == bytes, "{length} bytes");
            }
        });
    });
}

#[function]
fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[function]
fn total(numbers: &[u64], text: &str, last: u64) -> u64 {
    numbers.iter().sum::<u64>() + text.len() as u64 + last
}

#[function]
fn owned(text: String) -> usize {
    text.len()
}

#[retry_runtime::test]
fn inputs_may_be_borrowed_or_owned_or_refer_to_the_parameter() {
    fn all<I: Iterator, T, E: std::fmt::Debug>(map: Map<I, T, E>) -> Vec<T> {
        map.try_collect().wait().unwrap()
    }
    fixture(LIMIT, serves, || {
        let paths: Vec<PathBuf> = ["/a", "/b/c"].map(PathBuf::from).into();
        assert_eq!(all(file_name.map(&paths)), ["a", "c"]);
        assert_eq!(all(file_name.map(&paths[1..])), ["c"]);
        assert_eq!(all(file_name.map(paths.iter())), ["a", "c"]);
        assert_eq!(all(file_name.map(["/a", "b"])), ["a", "b"]);
        assert_eq!(all(file_name.map(paths)), ["a", "c"]);

        let numbers = vec![1, 2, 3];
        assert_eq!(all(double.map(&numbers)), [2, 4, 6]);
        assert_eq!(all(double.map(&[&1, &2])), [2, 4]);
        assert_eq!(all(double.map(numbers.iter().rev())), [6, 4, 2]);

        let texts = vec!["four".to_owned(), String::new()];
        assert_eq!(all(owned.map(&texts)), [4, 0]);
        assert_eq!(all(owned.map(texts[0].split('u'))), [2, 1]);
        assert_eq!(all(owned.map(texts.iter().map(Cow::from))), [4, 0]);

        let rows = vec![(vec![1, 2], "ab", 3), (vec![], "", 4)];
        assert_eq!(all(total.map(&rows)), [8, 4]);
        let columns = (rows.iter().map(|row| &row.0)).map(|numbers| (numbers, "c", &5));
        assert_eq!(all(total.map(columns)), [9, 6]);
        assert_eq!(all(total.map(rows)), [8, 4]);
        assert_eq!(all(total.map([([1, 2], "", 0)])), [3]);
    });
}

#[retry_runtime::test]
async fn an_indexed_map_tells_which_input_each_result_is_of() {
    fixture_async(LIMIT, serves, async {
        let check = |(index, result): (usize, Result<u64, CallError<Unlucky>>)| {
            match result {
                Ok(value) => assert_eq!(value, 2 * (index as u64 + 10)),
                Err(error) => assert_eq!(error.context().input_index(), Some(3)),
            }
            index
        };
        // The iterator blocks, so another thread consumes it.
        let indices = |map: Map<_, _, _, Indexed>| {
            let consume = || map.into_iter().map(check).collect::<Vec<_>>();
            std::thread::scope(|scope| scope.spawn(consume).join().unwrap())
        };
        let ordered = indices(double.map(10..3000).indexed());
        assert!(ordered.into_iter().eq(0..2990));
        let mut any = indices(double.map(10..3000).unordered().indexed());
        any.sort_unstable();
        assert!(any.into_iter().eq(0..2990));

        let all = double.map(10..20).indexed().await;
        assert!(all.into_iter().map(check).eq(0..10));
        let streamed = double.map(10..20).indexed().stream();
        assert!(
            streamed
                .map(check)
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .eq(0..10)
        );
        let squares: HashMap<usize, u64> = double
            .map(0..10)
            .indexed()
            .unordered()
            .try_collect()
            .await
            .unwrap();
        assert!((0..10).all(|index| squares[&index] == 2 * index as u64));
        let failed = double.map(10..20).indexed().try_collect::<Vec<_>>().await;
        assert_eq!(failed.unwrap_err().context().input_index(), Some(3));
    })
    .await;
}
