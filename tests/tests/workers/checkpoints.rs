//! Checkpoints of maps, and caches of single calls.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use retry_runtime::error::Rejected;
use retry_runtime::{CallError, Runtime, function};
use retry_tests::{Ledger, eventually, fixture, fixture_async, record, seeded};

const LIMIT: Duration = Duration::from_secs(120);

fn serves() -> bool {
    echo.remote(1).wait().is_ok_and(|value| value == 1)
}

#[function]
fn echo(value: u64) -> u64 {
    value
}

/// Fails for odd numbers until a file exists.
#[function]
fn doubles(ledger: &Path, number: u64) -> Result<u64, String> {
    record(ledger, number);
    if number % 2 == 1 && !ledger.with_extension("repaired").exists() {
        return Err(format!("{number} is odd"));
    }
    Ok(2 * number)
}

/// Returns how often it was called with equal arguments.
#[function(max_workers = 1)]
fn counts(ledger: &Path, text: String) -> u64 {
    record(ledger, 0);
    let seen = ledger.with_extension("seen");
    let known = fs::read_to_string(&seen).unwrap_or_default();
    fs::write(seen, format!("{known}{text}\n")).unwrap();
    known.lines().filter(|line| *line == text).count() as u64
}

#[function(name = "checkpoints::priced", version = "1")]
fn priced(number: u64) -> u64 {
    number
}

#[function(name = "checkpoints::priced", version = "2")]
fn priced_anew(number: u64) -> u64 {
    number + 1
}

#[function(name = "checkpoints::priced", version = "1")]
fn priced_precisely(number: u64) -> f64 {
    number as f64
}

#[function]
fn maps_inside(file: PathBuf) -> String {
    let mut results = echo.map(0..3).checkpoint(file).into_iter();
    let first = results.next().unwrap();
    assert_eq!(results.count(), 2);
    first.unwrap_err().to_string()
}

/// Input 0 waits for a file. Every result is large.
#[function(max_workers = 2)]
fn waits(ledger: &Path, number: u64) -> Vec<u8> {
    record(ledger, number);
    if number == 0 {
        eventually("the file exists", LIMIT, || {
            ledger.with_extension("go").exists()
        });
    }
    vec![number as u8; 1 << 20]
}

#[function(cache = "cached")]
fn triples(ledger: &Path, number: u64) -> Result<u64, String> {
    record(ledger, number);
    match number {
        7 => Err("seven".to_owned()),
        number => Ok(3 * number),
    }
}

#[function(cache = "cached", version = "2")]
fn triples_anew(ledger: &Path, number: u64) -> Result<u64, String> {
    record(ledger, number);
    Ok(3 * number + 1)
}

#[function(cache = "a-file")]
fn unusable() {}

#[function]
fn calls_inside(ledger: PathBuf, number: u64) -> u64 {
    triples.remote(&ledger, number).wait().unwrap()
}

/// Returns the reason of the rejection.
fn reason<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> String {
    match result {
        Err(error @ CallError::Rejected(Rejected::Checkpoint(_), _)) => {
            assert!(error.did_not_run());
            format!("{error:?}")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        }
        other => panic!("{other:?}"),
    }
}

#[retry_runtime::test]
fn results_are_kept_and_failures_run_again() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let path = ledger.path();
        let file = path.with_extension("db");
        let run = |numbers: Vec<u64>, ordered: bool| -> Vec<Option<u64>> {
            let inputs = numbers.into_iter().map(|number| (&path, number));
            let map = doubles.map(inputs).checkpoint(&file);
            let map = if ordered { map } else { map.unordered() };
            map.into_iter().map(Result::ok).collect()
        };
        let expected = |number: u64| number.is_multiple_of(2).then_some(2 * number);
        assert_eq!(
            run((0..100).collect(), true),
            (0..100).map(expected).collect::<Vec<_>>()
        );
        assert_eq!(ledger.total(), 100);
        // Only the failed ones run again.
        run((0..100).collect(), true);
        assert_eq!(ledger.total(), 150);
        fs::write(path.with_extension("repaired"), "").unwrap();
        let mut unordered = run((0..100).collect(), false);
        unordered.sort();
        let all = |numbers: &[u64]| numbers.iter().map(|n| Some(2 * n)).collect::<Vec<_>>();
        assert_eq!(unordered, all(&(0..100).collect::<Vec<_>>()));
        assert_eq!(ledger.total(), 200);
        // Other inputs, in another order.
        let numbers: Vec<u64> = (90..110).rev().collect();
        assert_eq!(run(numbers.clone(), true), all(&numbers));
        assert_eq!(ledger.total(), 210);
    });
}

#[retry_runtime::test]
fn equal_inputs_have_results_of_their_own() {
    fixture(LIMIT, serves, || {
        seeded(3, |random, _| {
            let ledger = Ledger::new();
            let path = ledger.path();
            let file = path.with_extension("db");
            // Short and long texts, since their keys are made in different ways.
            let inputs: Vec<String> = (0..300)
                .map(|_| "x".repeat(random.usize(0..6) * 30))
                .collect();
            let mut before = std::collections::BTreeMap::new();
            let expected: Vec<u64> = inputs
                .iter()
                .map(|text| {
                    let count: &mut u64 = before.entry(text).or_default();
                    *count += 1;
                    *count - 1
                })
                .collect();
            // The first inputs, then more of them, and all of them twice.
            for count in [50, 170, 300, 300] {
                let items = inputs[..count].iter().map(|text| (&path, text));
                let map = counts.map(items).checkpoint(&file);
                let results: Vec<u64> = map.try_collect().wait().unwrap();
                assert_eq!(results, expected[..count]);
                assert_eq!(ledger.total(), count as u32);
            }
        });
    });
}

#[retry_runtime::test]
async fn streams_and_several_maps_share_a_file() {
    fixture_async(LIMIT, serves, async {
        let ledger = Ledger::new();
        let path = ledger.path();
        let file = path.with_extension("db");
        let map = || echo.map(0..1000).checkpoint(&file);
        let mut first = map().stream();
        assert_eq!(first.next().await.unwrap().unwrap(), 0);
        // Both use the file at the same time.
        let second = map().indexed().await;
        assert!(
            second
                .iter()
                .all(|(index, result)| *result.as_ref().unwrap() == *index as u64)
        );
        let items = (0..3).map(|number| (&path, 2 * number));
        let doubled: Vec<u64> = doubles
            .map(items)
            .checkpoint(&file)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(doubled, [0, 4, 8]);
        drop(first);
        let all: Vec<u64> = map().try_collect().await.unwrap();
        assert!(all.into_iter().eq(0..1000));
    })
    .await;
}

#[retry_runtime::test]
fn another_version_or_type_is_refused() {
    fixture(LIMIT, serves, || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run.db");
        // The three functions have one name, so none of them can be called here. Opening the file registers
        // the first one.
        assert_eq!(priced.map(0..2).checkpoint(&file).into_iter().count(), 2);
        let told = reason(
            priced_anew
                .map([1])
                .checkpoint(&file)
                .into_iter()
                .next()
                .unwrap(),
        );
        let expected = "run.db holds results of `checkpoints::priced` with version \"1\", and this program \
                        has version \"2\"; to run everything again, delete the file or name another one";
        assert!(told.contains(expected), "{told}");
        let told = reason(
            priced_precisely
                .map([1])
                .checkpoint(&file)
                .into_iter()
                .next()
                .unwrap(),
        );
        let expected = "as `fn(u64) -> u64`, and in this program it is `fn(u64) -> f64`";
        assert!(told.contains(expected), "{told}");
    });
}

#[retry_runtime::test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    fixture(LIMIT, serves, || {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        fs::write(directory.join("short.db"), "text").unwrap();
        fs::write(directory.join("long.db"), "text ".repeat(10_000)).unwrap();
        for (name, expected) in [
            (
                "missing/run.db",
                "its directory does not exist; create it first",
            ),
            (
                "short.db",
                "the file exists and is not a checkpoint; name another file",
            ),
            (
                "long.db",
                "the file exists and is not a checkpoint; name another file",
            ),
            ("short.db/run.db", "Not a directory"),
            (".", "Is a directory"),
        ] {
            let file = directory.join(name);
            let results = echo.map(0..3).checkpoint(&file).into_iter();
            for told in results.map(reason) {
                let name = file.display().to_string();
                assert!(told.contains(&name) && told.contains(expected), "{told}");
            }
        }
        assert_eq!(fs::read(directory.join("short.db")).unwrap(), b"text");
        // An unfinished draft and an empty file are as good as none.
        fs::write(directory.join("run.db.new"), [0; 9000]).unwrap();
        let all: Vec<u64> = echo
            .map(0..3)
            .checkpoint(directory.join("run.db"))
            .try_collect()
            .wait()
            .unwrap();
        assert_eq!(all, [0, 1, 2]);
        assert!(!directory.join("run.db.new").exists());
    });
}

#[retry_runtime::test]
fn a_map_inside_a_worker_is_refused() {
    fixture(LIMIT, serves, || {
        let directory = tempfile::tempdir().unwrap();
        let told = maps_inside
            .remote(directory.path().join("run.db"))
            .wait()
            .unwrap();
        assert!(told.contains("cannot be used inside a worker"), "{told}");
    });
}

#[retry_runtime::test]
fn inline_workers_have_checkpoints_too() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let path = ledger.path();
        let file = path.with_extension("db");
        let runtime = Runtime::builder().inline().build().unwrap();
        for on in [&doubles.on(&runtime), &doubles.on(&runtime)] {
            let items = (0..10).map(|number| (&path, 2 * number));
            let all: Vec<u64> = on
                .map(items)
                .checkpoint(&file)
                .try_collect()
                .wait()
                .unwrap();
            assert!(all.into_iter().eq((0..10).map(|number| 4 * number)));
        }
        assert_eq!(ledger.total(), 10);
        runtime.shutdown(LIMIT).wait();
    });
}

#[retry_runtime::test]
fn kept_results_wait_for_an_earlier_input_in_bounded_memory() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let path = ledger.path();
        let file = path.with_extension("db");
        let run = |numbers: std::ops::Range<u64>, taken: &Cell<u64>| {
            let items = numbers.map(|number| {
                taken.set(number);
                if number == 20 {
                    fs::write(path.with_extension("go"), "").unwrap();
                }
                (&path, number)
            });
            let mut results = waits
                .map(items)
                .max_buffered(4 << 20)
                .checkpoint(&file)
                .into_iter();
            let first = results.next().unwrap().unwrap();
            (first[0], taken.get(), results.filter(Result::is_ok).count())
        };
        let taken = Cell::new(0);
        // The input that is waited for is missing in the file.
        run(1..60, &taken);
        fs::remove_file(path.with_extension("go")).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                eventually("input 0 is executed", LIMIT, || {
                    ledger.executions().contains_key(&0)
                });
                fs::write(path.with_extension("go"), "").unwrap();
            });
            let (first, taken, others) = run(0..60, &taken);
            assert_eq!((first, others), (0, 59));
            assert!(taken < 12, "{taken} inputs were taken");
        });
        assert_eq!(ledger.total(), 60);
    });
}

/// Runs a test in an empty working directory, which its caches are relative to.
fn in_a_directory(test: impl FnOnce(&Ledger)) {
    let directory = tempfile::tempdir().unwrap();
    std::env::set_current_dir(directory.path()).unwrap();
    test(&Ledger::new());
    std::env::set_current_dir("/").unwrap();
}

#[retry_runtime::test]
fn a_cached_function_runs_once_for_equal_arguments() {
    fixture(LIMIT, serves, || {
        in_a_directory(|ledger| {
            let path = ledger.path();
            for _ in 0..3 {
                assert_eq!(triples.remote(&path, 2).wait().unwrap(), 6);
                assert_eq!(triples.spawn(&path, 3).wait().unwrap(), 9);
                let mut call = triples.spawn(&path, 4);
                eventually("the call ends", LIMIT, || match call.try_get() {
                    Some(result) => result.unwrap() == 12,
                    None => false,
                });
            }
            assert_eq!(ledger.total(), 3);
            // Errors are not kept.
            for _ in 0..2 {
                assert!(triples.remote(&path, 7).wait().is_err());
            }
            assert_eq!(ledger.total(), 5);
            // Nor does the cache hold for another version, or for maps.
            assert_eq!(triples_anew.remote(&path, 2).wait().unwrap(), 7);
            let mapped: Vec<u64> = triples.map([(&path, 2)]).try_collect().wait().unwrap();
            assert_eq!((mapped, ledger.total()), (vec![6], 7));
        });
    });
}

#[retry_runtime::test]
fn a_damaged_cache_is_written_again() {
    fixture(LIMIT, serves, || {
        in_a_directory(|ledger| {
            let path = ledger.path();
            assert_eq!(triples.remote(&path, 2).wait().unwrap(), 6);
            let folder = fs::read_dir("cached").unwrap().next().unwrap().unwrap();
            let file = fs::read_dir(folder.path())
                .unwrap()
                .next()
                .unwrap()
                .unwrap();
            let content = fs::read(file.path()).unwrap();
            for damaged in [&content[..0], &content[..9], &content[1..]] {
                fs::write(file.path(), damaged).unwrap();
                let before = ledger.total();
                assert_eq!(triples.remote(&path, 2).wait().unwrap(), 6);
                assert_eq!(ledger.total(), before + 1);
                assert_eq!(fs::read(file.path()).unwrap(), content);
            }
        });
    });
}

#[retry_runtime::test]
fn a_cache_that_cannot_be_used_is_named() {
    fixture(LIMIT, serves, || {
        in_a_directory(|_| {
            fs::write("a-file", "").unwrap();
            let told = reason(unusable.remote().wait());
            let expected = "the cache directory a-file cannot be used: Not a directory";
            assert!(told.contains(expected), "{told}");
        });
    });
}

#[retry_runtime::test]
fn workers_share_a_cache() {
    fixture(LIMIT, serves, || {
        // Workers start in the working directory of the program.
        in_a_directory(|ledger| {
            let results: Vec<u64> = calls_inside
                .map((0..40).map(|number| (ledger.path(), number % 2 + 5)))
                .try_collect()
                .wait()
                .unwrap();
            assert!(results.chunks(2).all(|pair| pair == [15, 18]));
            // Several workers may have looked before the first result was there.
            let total = ledger.total();
            assert!(total < 40, "{total}");
            assert_eq!(triples.remote(&ledger.path(), 5).wait().unwrap(), 15);
            assert_eq!(ledger.total(), total);
        });
    });
}
