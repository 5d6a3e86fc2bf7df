//! Values that many calls share.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retry_runtime::{CallError, Lost, Rejected, Runtime, Shared, current, function, service};
use retry_tests::{Ledger, eventually, fixture, fork_with, kill_child, record, workers};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Deserializer, Serialize};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(60);

const SOON: Duration = Duration::from_secs(20);

/// The size from which on a shared value has a file.
const WITH_FILE: usize = 32 * 1024;

const MIB: usize = 1024 * 1024;

const PAGE: usize = 4096;

/// Returns the shared values that a process has mapped.
fn mapped_by(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let is_one = |line: &&str| line.contains("/memfd:retry-shared");
    maps.lines().filter(is_one).count()
}

fn is_freed_everywhere() -> bool {
    mapped_by(std::process::id()) == 0 && workers().into_iter().all(|pid| mapped_by(pid) == 0)
}

fn numbers(count: usize) -> Vec<f64> {
    (0..count).map(|number| number as f64).collect()
}

#[function(max_workers = 2)]
fn sums(from: usize, numbers: Shared<[f64]>) -> (f64, bool) {
    let is_aligned = numbers.as_ptr().align_offset(64) == 0;
    (numbers[from..].iter().sum(), is_aligned)
}

#[function(max_workers = 2)]
fn length_of_bytes(bytes: &Shared<[u8]>) -> (usize, u64) {
    (bytes.len(), bytes.iter().copied().map(u64::from).sum())
}

#[function(max_workers = 2)]
fn part_of_text(part: Range<usize>, text: &Shared<str>) -> String {
    text[part].to_owned()
}

#[retry_runtime::test]
fn numbers_are_read_in_place() {
    fixture(LIMIT, serves, || {
        for count in [
            0,
            1,
            511,
            512,
            513,
            WITH_FILE / 8 - 1,
            WITH_FILE / 8,
            100_000,
        ] {
            let numbers = numbers(count);
            let shared = Shared::new(&numbers[..]).unwrap();
            let expected = numbers.iter().sum::<f64>();
            let result = sums.remote(0, shared.clone()).wait().unwrap();
            assert_eq!(result, (expected, true));
            let inputs = (0..count.min(100)).zip(repeat(shared));
            for (from, result) in sums.map(inputs).indexed() {
                assert_eq!(result.unwrap(), (numbers[from..].iter().sum(), true));
            }
        }
    });
}

#[retry_runtime::test]
fn bytes_of_any_size_and_text_are_read_in_place() {
    fixture(LIMIT, serves, || {
        let page = 4096;
        for length in [
            0,
            1,
            page - 1,
            page,
            page + 1,
            WITH_FILE - 1,
            WITH_FILE + 1,
            3 * MIB,
        ] {
            let bytes = vec![3; length];
            let shared = Shared::copy_from(&bytes).unwrap();
            let result = length_of_bytes.remote(&shared).wait().unwrap();
            assert_eq!(result, (length, 3 * length as u64));
            assert_eq!((&shared[..], shared.size()), (&bytes[..], length));
        }
        for text in ["", "grüße", &"grüße ".repeat(WITH_FILE)] {
            let shared = Shared::new(text).unwrap();
            assert_eq!(&*shared, text);
            let part = 0..text.len().min(7);
            let result = part_of_text.remote(part.clone(), &shared).wait().unwrap();
            assert_eq!(result, text[part]);
        }
    });
}

/// A value that counts how often it is decoded in this process.
#[derive(Debug, PartialEq, Serialize)]
struct Table {
    rows: BTreeMap<String, Vec<u32>>,
}

static DECODED: AtomicU32 = AtomicU32::new(0);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Table {
            rows: BTreeMap<String, Vec<u32>>,
        }
        DECODED.fetch_add(1, Ordering::Relaxed);
        Table::deserialize(from).map(|Table { rows }| Self { rows })
    }
}

#[function(max_workers = 1)]
fn in_table(key: String, table: Shared<Table>) -> (Option<Vec<u32>>, u32) {
    (
        table.rows.get(&key).cloned(),
        DECODED.load(Ordering::Relaxed),
    )
}

#[function(max_workers = 1)]
fn longest(words: Shared<[String]>) -> Option<String> {
    words.iter().max_by_key(|word| word.len()).cloned()
}

#[retry_runtime::test]
fn other_values_are_decoded_once_in_each_worker() {
    fixture(LIMIT, serves, || {
        for rows in [1, 5000] {
            let table = Table {
                rows: (0..rows)
                    .map(|row| (row.to_string(), vec![row; 3]))
                    .collect(),
            };
            let shared = Shared::new(&table).unwrap();
            assert_eq!(*shared, table);
            let (first, before) = in_table.remote("0".into(), shared.clone()).wait().unwrap();
            assert_eq!(first, Some(vec![0; 3]));
            for number in 0..100 {
                let result = in_table.remote(number.to_string(), shared.clone()).wait();
                let expected = (number < rows).then(|| vec![number; 3]);
                assert_eq!(result.unwrap(), (expected, before));
            }
        }
        let words = ["a", "abc", "ab"].map(str::to_owned);
        let shared = Shared::new(&words[..]).unwrap();
        assert_eq!(
            longest.remote(shared).wait().unwrap().as_deref(),
            Some("abc")
        );
    });
}

#[derive(Serialize, Deserialize)]
struct Job {
    tables: Vec<Shared<[u32]>>,
    names: Option<Shared<str>>,
}

#[function(max_workers = 2)]
fn adds_up(job: Job) -> u32 {
    let names = job.names.map_or(0, |names| names.len());
    let tables = job.tables.iter().map(|table| table.iter().sum::<u32>());
    tables.sum::<u32>() + u32::try_from(names).unwrap()
}

#[retry_runtime::test]
fn a_value_may_have_shared_parts() {
    fixture(LIMIT, serves, || {
        let table = |number| Shared::copy_from(&vec![number; WITH_FILE]).unwrap();
        let job = || Job {
            tables: vec![table(1), table(2)],
            names: Some(Shared::new("abc").unwrap()),
        };
        let expected = 3 * u32::try_from(WITH_FILE).unwrap() + 3;
        assert_eq!(adds_up.remote(job()).wait().unwrap(), expected);
        // Each input has values of its own, which nothing but its call keeps.
        for result in adds_up.map((0..200).map(|_| job())) {
            assert_eq!(result.unwrap(), expected);
        }
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[function(max_workers = 1, retries = 1)]
fn crashes_once(ledger: PathBuf, numbers: Shared<[f64]>) -> f64 {
    record(&ledger, 0);
    if current().is_some_and(|call| call.attempt() == 1) {
        std::process::abort();
    }
    numbers.iter().sum()
}

#[function(max_workers = 1)]
fn holds(ledger: PathBuf, numbers: Shared<[f64]>) {
    record(&ledger, numbers.len() as u64);
    std::thread::sleep(Duration::from_secs(600));
}

#[retry_runtime::test]
fn memory_is_freed_however_calls_end() {
    fixture(LIMIT, serves, || {
        let share = || Shared::new(&numbers(100_000)[..]).unwrap();
        let ledger = Ledger::new();
        // The call alone keeps the value, also for its second attempt, in another worker.
        let result = crashes_once.remote(ledger.path(), share()).wait().unwrap();
        assert_eq!(result, 4_999_950_000.0);
        eventually("freed after a crash", SOON, is_freed_everywhere);
        // A handle that outlives the calls.
        let shared = share();
        sums.remote(0, shared.clone()).wait().unwrap();
        let is_mapped = |pid: &u32| mapped_by(*pid) == 1;
        assert_eq!(workers().iter().filter(|pid| is_mapped(pid)).count(), 1);
        drop(shared);
        eventually("freed with the handle", SOON, is_freed_everywhere);
        // A cancelled call.
        let ledger = Ledger::new();
        let call = holds.spawn(ledger.path(), share());
        eventually("it runs", SOON, || ledger.total() == 1);
        assert!(!is_freed_everywhere());
        call.cancel();
        assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
        eventually("freed after a cancellation", SOON, is_freed_everywhere);
        // A worker that is killed.
        let ledger = Ledger::new();
        let call = holds.remote(ledger.path(), share()).timeout(SOON);
        let call = std::thread::spawn(move || call.wait());
        eventually("it runs", SOON, || ledger.total() == 1);
        for _ in 0..3 {
            let total = ledger.total();
            let pid = ledger.entries().last().unwrap().pid;
            assert!(kill_child(pid));
            eventually("it runs again", SOON, || {
                ledger.total() > total || call.is_finished()
            });
        }
        assert!(matches!(call.join().unwrap(), Err(CallError::Crashed(..))));
        eventually("freed after kills", SOON, is_freed_everywhere);
        // Calls that were never made.
        drop(sums.remote(0, share()));
        drop(sums.map([(0, share())]));
        eventually("freed without a call", SOON, is_freed_everywhere);
    });
}

struct Index {
    words: Shared<[String]>,
    weights: Shared<[f64]>,
}

#[service(max_workers = 2)]
impl Index {
    #[setup]
    fn new(words: Shared<[String]>, weights: Shared<[f64]>) -> Self {
        Self { words, weights }
    }

    #[method]
    fn weight(&self, word: &str) -> (Option<f64>, u32) {
        let found = self.words.iter().position(|known| known == word);
        (found.map(|at| self.weights[at]), std::process::id())
    }
}

#[retry_runtime::test]
fn a_service_is_set_up_with_shared_values() {
    fixture(LIMIT, serves, || {
        let words: Vec<String> = (0..20_000).map(|word| format!("word {word}")).collect();
        let index = {
            let words = Shared::new(&words[..]).unwrap();
            Index::with(words, Shared::new(&numbers(20_000)[..]).unwrap())
        };
        let (weight, pid) = index.weight.remote("word 777").wait().unwrap();
        assert_eq!(weight, Some(777.0));
        // Later workers are set up with them as well.
        assert!(kill_child(pid));
        for (number, word) in words.iter().enumerate().take(100) {
            let (weight, other) = index.weight.remote(word).wait().unwrap();
            assert_eq!(weight, Some(number as f64));
            assert_ne!(other, pid);
        }
        // Workers that are set up keep their handles.
        drop(index);
        eventually("freed here", SOON, || mapped_by(std::process::id()) == 0);
    });
}

#[function(max_workers = 2)]
fn splits(numbers: Shared<[f64]>) -> Result<f64, String> {
    let half = numbers.len() / 2;
    let starts = [0, half].into_iter().zip(repeat(numbers.clone()));
    let halves: Vec<f64> = sums
        .map(starts)
        .into_iter()
        .map(|result| {
            result
                .map(|(half, _)| half)
                .map_err(|error| error.to_string())
        })
        .collect::<Result<_, _>>()?;
    Ok(halves[0] - halves[1])
}

#[function(max_workers = 1)]
fn passes_on_its_own() -> Result<f64, String> {
    let own = Shared::new(&[1.0, 2.0][..]).map_err(|error| error.to_string())?;
    let result = sums.remote(0, own).wait();
    result
        .map(|(total, _)| total)
        .map_err(|error| error.to_string())
}

#[function(max_workers = 2)]
fn makes_squares(count: usize) -> Shared<[u64]> {
    let write = |squares: &mut [u64]| {
        for (number, square) in (0..).zip(squares) {
            *square = number * number;
        }
    };
    Shared::filled(count, write).unwrap()
}

#[function(max_workers = 2)]
fn gives_back(numbers: Shared<[f64]>, sizes: Vec<usize>) -> (Shared<[f64]>, Vec<Shared<[u8]>>) {
    let made = sizes
        .into_iter()
        .map(|size| Shared::copy_from(&vec![7; size]));
    (numbers, made.map(Result::unwrap).collect())
}

#[function(max_workers = 1)]
fn asks_for_squares(counts: Vec<usize>) -> Result<(u64, Shared<[u64]>), String> {
    let mut sum = 0;
    for found in makes_squares.map(counts) {
        sum += found
            .map_err(|error| error.to_string())?
            .iter()
            .sum::<u64>();
    }
    let last = makes_squares
        .remote(10_000)
        .wait()
        .map_err(|error| error.to_string())?;
    Ok((sum, last))
}

#[function]
fn fails_with_one() -> Result<(), Option<Shared<str>>> {
    Err(Shared::new("an error").ok())
}

#[function(max_workers = 1)]
fn makes_or_returns(size: usize, given: Option<Shared<[u8]>>) -> Shared<[u8]> {
    given.unwrap_or_else(|| Shared::copy_from(&vec![5; size]).unwrap())
}

fn squares_here(count: usize) -> Vec<u64> {
    (0..count as u64).map(|number| number * number).collect()
}

#[retry_runtime::test]
fn results_are_shared_without_copies() {
    fixture(LIMIT, serves, || {
        for count in [0, 1, 4095, 4096, 4097, 300_000] {
            let found = makes_squares.remote(count).wait().unwrap();
            assert_eq!(found[..], squares_here(count));
            // It can be passed on, to the worker that has made it as well.
            for total in squared.map([found.clone(), found.clone(), found]) {
                assert_eq!(total.unwrap(), squares_here(count).iter().sum::<u64>());
            }
        }
        // Those of one map arrive at once, and short ones among large ones.
        for (count, found) in (0..).zip(makes_squares.map((0..2000).map(|count| count % 7 * 1000)))
        {
            assert_eq!(found.unwrap()[..], squares_here(count % 7 * 1000));
        }
        let numbers = Shared::new(&numbers(10_000)[..]).unwrap();
        let sizes = vec![0, 10, WITH_FILE, 3 * MIB];
        let (same, made) = gives_back
            .remote(numbers.clone(), sizes.clone())
            .wait()
            .unwrap();
        assert_eq!(same.as_ptr(), numbers.as_ptr());
        for (size, made) in sizes.iter().zip(&made) {
            assert_eq!(made[..], vec![7; *size]);
        }
        drop((same, made, numbers));
        eventually("all is freed", SOON, is_freed_everywhere);
        // The worker is given what it has made, and returns it again.
        for size in [1, 3 * MIB] {
            let mut made = makes_or_returns.remote(size, None).wait().unwrap();
            for _ in 0..5 {
                let again = makes_or_returns
                    .remote(0, Some(made.clone()))
                    .wait()
                    .unwrap();
                assert_eq!(again.as_ptr(), made.as_ptr());
                made = again;
            }
            assert_eq!(made[..], vec![5; size]);
        }
        // The consumer drops results without reading them.
        drop(makes_squares.map([100_000; 10]).into_iter().next());
        drop(makes_squares.spawn(100_000));
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[function(max_workers = 2)]
fn squared(squares: Shared<[u64]>) -> u64 {
    squares.iter().sum()
}

#[retry_runtime::test]
fn results_of_nested_calls_are_shared() {
    fixture(LIMIT, serves, || {
        let counts = vec![10, 5000, 100_000];
        let expected = counts
            .iter()
            .flat_map(|count| squares_here(*count))
            .sum::<u64>();
        for found in asks_for_squares.map((0..20).map(|_| counts.clone())) {
            let (sum, last) = found.unwrap();
            assert_eq!((sum, &last[..]), (expected, &squares_here(10_000)[..]));
        }
        assert_eq!(passes_on_its_own.remote().wait().unwrap(), 3.0);
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[retry_runtime::test]
fn what_is_encoded_meanwhile_takes_no_names_along() {
    fixture(LIMIT, serves, || {
        let share = |number| Shared::copy_from(&vec![number; 10]).unwrap();
        let expected = |number: u64| (10 * number, number);
        // The iterator makes calls, shares values that are encoded, and has another map run within it.
        let inner = makes_squares.map(std::iter::repeat_n(3, 500)).into_iter();
        let inputs = inner.enumerate().map(|(number, squares)| {
            let number = number as u64;
            assert_eq!(squares.unwrap()[..], [0, 1, 4]);
            let words = Shared::new(&vec![number.to_string()]).unwrap();
            if number.is_multiple_of(50) {
                let (sum, _) = adds_all.remote(share(7), words.clone()).wait().unwrap();
                assert_eq!(sum, 70);
            }
            (share(number), words)
        });
        for (number, result) in (0..).zip(adds_all.map(inputs)) {
            assert_eq!(result.unwrap(), expected(number));
        }
        // A value that panics while it is encoded.
        let panicked = std::panic::catch_unwind(|| panics.remote((share(1), Panics)));
        assert!(panicked.is_err());
        assert!(Shared::new(&vec![1_u8]).is_ok());
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[function(max_workers = 2)]
fn adds_all(numbers: Shared<[u64]>, words: Shared<Vec<String>>) -> (u64, u64) {
    (numbers.iter().sum(), words[0].parse().unwrap())
}

#[derive(Deserialize)]
struct Panics;

impl Serialize for Panics {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("it panics while it is encoded")
    }
}

#[function]
fn panics(_: (Shared<[u64]>, Panics)) {}

#[retry_runtime::test]
fn a_map_takes_no_more_large_values_ahead_than_it_may() {
    fixture(LIMIT, serves, || {
        // A gigabyte, of which the map has at most about 64 MiB at a time.
        let made = std::cell::Cell::new(0_usize);
        let inputs = (0..128).map(|_| {
            made.set(made.get() + 1);
            Shared::copy_from(&vec![1_u8; 8 * MIB]).unwrap()
        });
        for (taken, result) in (1..).zip(length_of_bytes.map(inputs)) {
            assert_eq!(result.unwrap(), (8 * MIB, 8 * MIB as u64));
            assert!(made.get() <= taken + 16, "{} of {taken}", made.get());
        }
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[retry_runtime::test]
fn a_function_passes_on_what_it_was_given() {
    fixture(LIMIT, serves, || {
        let shared = Shared::new(&numbers(10_000)[..]).unwrap();
        let expected = numbers(5000).iter().sum::<f64>();
        assert_eq!(splits.remote(shared).wait().unwrap(), expected);
        // Nothing but the outer call keeps the value.
        let share = |_| Shared::new(&numbers(10_000)[..]).unwrap();
        for result in splits.map((0..50).map(share)) {
            assert_eq!(result.unwrap(), expected);
        }
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[retry_runtime::test]
fn a_shared_value_that_cannot_travel_is_refused_with_the_reason() {
    fixture(LIMIT, serves, || {
        let shared = Shared::new(&[1.0, 2.0][..]).unwrap();
        match fails_with_one.remote().wait() {
            Err(CallError::Lost(Lost::NotEncodable { reason }, _)) => {
                assert!(reason.contains("part of an error"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        let folder = tempfile::tempdir().unwrap();
        let inputs = [(0, shared.clone())];
        let map = sums.map(inputs).checkpoint(folder.path().join("kept"));
        match map.into_iter().next().unwrap() {
            Err(CallError::Rejected(Rejected::Checkpoint(reason), _)) => {
                assert!(reason.contains("`Shared`"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // The names of what a service is configured with mean something else in the next run as well.
        let words = Shared::new(&["word".to_owned()][..]).unwrap();
        let index = Index::with(words, shared.clone());
        let map = index.weight.map(["word"]);
        match map
            .checkpoint(folder.path().join("other"))
            .into_iter()
            .next()
        {
            Some(Err(CallError::Rejected(Rejected::Checkpoint(_), _))) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(sums.remote(0, shared.clone()).wait().unwrap().0, 3.0);
        let json = serde_json::to_string(&shared).unwrap_err().to_string();
        assert!(json.contains("an argument or a result"), "{json}");
        let within = Shared::new(&vec![shared.clone()]).unwrap_err();
        assert_eq!(within.kind(), std::io::ErrorKind::InvalidInput);
        let code = fork_with(|| {
            let own = Shared::new(&[3.0][..]).unwrap();
            let is_read = shared[1] == 2.0;
            let refused = sums.remote(0, shared.clone()).wait();
            let is_refused = matches!(&refused, Err(CallError::Rejected(..)));
            let is_own_passed = sums
                .remote(0, own)
                .wait()
                .is_ok_and(|(total, _)| total == 3.0);
            retry_runtime::shutdown(SOON).wait();
            i32::from(!(is_read && is_refused && is_own_passed))
        });
        assert_eq!(code.code(), Some(0));
        assert_eq!(sums.remote(1, shared).wait().unwrap().0, 2.0);
    });
}

#[retry_runtime::test]
fn a_thousand_values_may_be_shared_at_once() {
    fixture(LIMIT, serves, || {
        let limit = getrlimit(Resource::Nofile);
        let mut lower = limit;
        lower.current = Some(limit.current.unwrap_or(4096).min(512));
        setrlimit(Resource::Nofile, lower).unwrap();
        let small: Vec<_> = (0..1000)
            .map(|number| Shared::copy_from(&vec![number; 1000]).unwrap())
            .collect();
        let jobs = small.iter().map(|table| Job {
            tables: vec![table.clone()],
            names: None,
        });
        for (number, result) in (0..).zip(adds_up.map(jobs)) {
            assert_eq!(result.unwrap(), 1000 * number);
        }
        // Large ones take a descriptor each.
        let mut large = Vec::new();
        let error = loop {
            match Shared::copy_from(&vec![1_u32; WITH_FILE]) {
                Ok(shared) => large.push(shared),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(24), "{error}");
        assert!(large.len() > 400, "{}", large.len());
        // They reach a worker although no other descriptor is left here.
        let job = |tables| Job {
            tables,
            names: None,
        };
        let expected = u32::try_from(large.len() * WITH_FILE).unwrap();
        assert_eq!(adds_up.remote(job(large)).wait().unwrap(), expected);
        setrlimit(Resource::Nofile, limit).unwrap();
        drop(small);
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[retry_runtime::test]
fn a_file_is_shared_as_it_was() {
    fixture(LIMIT, serves, || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        for length in [0, 1, WITH_FILE, MIB + 1] {
            std::fs::write(&path, vec![2; length]).unwrap();
            let shared = Shared::from_file(&path).unwrap();
            // The file may change now.
            std::fs::write(&path, b"").unwrap();
            let result = length_of_bytes.remote(&shared).wait().unwrap();
            assert_eq!(result, (length, 2 * length as u64));
        }
        // The kernel says of such files that they are empty, or as long as a page.
        let status = Shared::from_file("/proc/self/status").unwrap();
        assert!(status.starts_with(b"Name:"));
        let cores = "/sys/devices/system/cpu/possible";
        let shared = Shared::from_file(cores).unwrap();
        assert_eq!(shared[..], std::fs::read(cores).unwrap());
        // There is not as much memory.
        std::fs::File::create(&path)
            .unwrap()
            .set_len(1 << 42)
            .unwrap();
        let error = Shared::from_file(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
        let missing = Shared::from_file(folder.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        let folder = Shared::from_file(folder.path()).unwrap_err();
        assert_eq!(folder.kind(), std::io::ErrorKind::IsADirectory);
    });
}

#[function(max_workers = 2, memory = "96MiB")]
fn reads_with_little_memory(bytes: Shared<[u8]>, own: usize) -> usize {
    let own = std::hint::black_box(vec![1_u8; own]);
    let pages = bytes.chunks(PAGE).filter(|page| page[0] == 1).count();
    std::thread::sleep(Duration::from_millis(700));
    pages + own.len() / PAGE
}

#[function(max_workers = 1, memory = "96MiB")]
fn makes_with_little_memory(size: usize) -> usize {
    let own = Shared::<[u8]>::filled(size, |bytes| bytes.fill(1)).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    own.len()
}

#[retry_runtime::test]
fn a_shared_value_does_not_count_for_the_memory_of_workers() {
    fixture(LIMIT, serves, || {
        let shared = Shared::<[u8]>::filled(256 * MIB, |bytes| bytes.fill(1)).unwrap();
        let inputs = repeat(shared.clone()).zip([0, 0, 0]);
        for result in reads_with_little_memory.map(inputs) {
            assert_eq!(result.unwrap(), 256 * MIB / PAGE);
        }
        // The worker's own memory does, however it has it.
        let result = makes_with_little_memory.remote(256 * MIB).wait();
        assert!(matches!(result, Err(CallError::Crashed(..))), "{result:?}");
        let result = reads_with_little_memory.remote(shared, 160 * MIB).wait();
        assert!(matches!(result, Err(CallError::Crashed(..))), "{result:?}");
    });
}

#[function(max_workers = 1, memory = "96MiB", at_most_once)]
fn returns_with_little_memory(size: usize) -> Shared<[u8]> {
    Shared::<[u8]>::filled(size, |bytes| bytes.fill(1)).unwrap()
}

#[function(max_workers = 1, memory = "96MiB", at_most_once)]
fn only_makes_with_little_memory(sizes: Vec<usize>) -> usize {
    let made: Vec<_> = sizes
        .into_iter()
        .map(|size| Shared::<[u8]>::filled(size, |_| {}).unwrap())
        .collect();
    std::thread::sleep(Duration::from_secs(20));
    made.iter().map(|one| one.len()).sum()
}

#[retry_runtime::test]
fn values_count_for_the_memory_of_their_maker_until_it_has_handed_them_over() {
    fixture(LIMIT, serves, || {
        let mut kept = Vec::new();
        for _ in 0..8 {
            let result = returns_with_little_memory.remote(30 * MIB).wait();
            kept.push(result.unwrap());
        }
        assert!(kept.iter().all(|one| one.len() == 30 * MIB));
        drop(kept);
        // Also those that the worker has not looked at.
        let sizes = vec![30 * MIB; 8];
        let result = only_makes_with_little_memory.remote(sizes).wait();
        assert!(matches!(result, Err(CallError::Crashed(..))), "{result:?}");
        eventually("all is freed", SOON, is_freed_everywhere);
    });
}

#[function(max_workers = 1)]
fn makes_many(count: usize) -> Vec<Shared<[u32]>> {
    let number = |number| Shared::copy_from(&[number]).unwrap();
    (0..u32::try_from(count).unwrap()).map(number).collect()
}

/// Returns the number of mappings of this process.
fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}

#[retry_runtime::test]
fn small_values_are_many() {
    fixture(LIMIT, serves, || {
        let before = mappings();
        let mut made = makes_many.remote(20_000).wait().unwrap();
        assert!((0..).zip(&made).all(|(number, one)| one[..] == [number]));
        made.retain(|one| one[0] % 2 == 1);
        assert!(mappings() < before + 1000, "{} of {before}", mappings());
        let jobs = Job {
            tables: made,
            names: None,
        };
        let odd = (1..20_000).step_by(2).sum::<u32>();
        assert_eq!(adds_up.remote(jobs).wait().unwrap(), odd);
    });
}

#[function(max_workers = 1)]
fn passes_on_much(count: usize) -> Result<f64, String> {
    let own = Shared::new(&vec![1.0; count][..]).map_err(|error| error.to_string())?;
    let result = sums.remote(0, own).wait();
    result
        .map(|(total, _)| total)
        .map_err(|error| error.to_string())
}

#[retry_runtime::test]
fn a_program_without_descriptors_says_so_to_nested_calls() {
    fixture(LIMIT, serves, || {
        assert_eq!(
            passes_on_much.remote(WITH_FILE).wait().unwrap(),
            WITH_FILE as f64
        );
        let limit = getrlimit(Resource::Nofile);
        let mut lower = limit;
        lower.current = Some(limit.current.unwrap_or(4096).min(256));
        setrlimit(Resource::Nofile, lower).unwrap();
        let mut files = Vec::new();
        files.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
        let result = passes_on_much.remote(WITH_FILE).wait();
        drop(files);
        setrlimit(Resource::Nofile, limit).unwrap();
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("no file descriptor is left (ulimit -n)"),
            "{error}"
        );
        assert_eq!(
            passes_on_much.remote(WITH_FILE).wait().unwrap(),
            WITH_FILE as f64
        );
    });
}

#[retry_runtime::test]
fn an_inline_runtime_shares_within_its_process() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().inline().build().unwrap();
        let found = makes_squares.on(&runtime).remote(10_000).wait().unwrap();
        assert_eq!(found[..], squares_here(10_000));
        drop(found);
        let shared = Shared::new(&numbers(10_000)[..]).unwrap();
        let at = shared.as_ptr() as usize;
        let result = address.on(&runtime).remote(shared).wait().unwrap();
        assert_eq!(result, at);
        eventually("freed", SOON, is_freed_everywhere);
    });
}

#[function]
fn address(numbers: Shared<[f64]>) -> usize {
    numbers.as_ptr() as usize
}

static KEPT: Mutex<Option<Shared<[f64]>>> = Mutex::new(None);

#[function(max_workers = 1)]
fn keeps_or_adds(numbers: Shared<[f64]>, is_first: bool) -> Vec<Result<f64, String>> {
    if is_first {
        *KEPT.lock().unwrap() = Some(numbers);
        return Vec::new();
    }
    let kept = KEPT.lock().unwrap().clone().unwrap();
    let inputs = [numbers.clone(), kept, numbers].map(|one| (0, one));
    let results = sums.map(inputs).into_iter();
    let results = results.map(|result| result.map(|(sum, _)| sum));
    results
        .map(|result| result.map_err(|error| error.to_string()))
        .collect()
}

#[retry_runtime::test]
fn a_value_that_does_not_exist_any_more_harms_no_other_call() {
    fixture(LIMIT, serves, || {
        let shared = |count| Shared::copy_from(&numbers(count)).unwrap();
        keeps_or_adds.remote(shared(10), true).wait().unwrap();
        eventually("the program has no handle on it", SOON, || {
            let results = keeps_or_adds.remote(shared(4), false).wait().unwrap();
            assert_eq!((&results[0], &results[2]), (&Ok(6.0), &Ok(6.0)));
            results[1].as_ref().is_err_and(|text| {
                assert!(text.contains("argument `numbers`"), "{text}");
                assert!(text.contains("does not exist any more"), "{text}");
                true
            })
        });
    });
}
