//! Large arguments, which workers read in the memory in which the program has staged them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use retry_runtime::{CallError, Options, Rejected, Runtime, current, function, service};
use retry_tests::{Ledger, eventually, fixture, fork_with, kill_child, record, workers};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(60);

const SOON: Duration = Duration::from_secs(20);

/// The size from which on arguments are staged.
const LARGE: usize = 64 * 1024;

const MIB: usize = 1024 * 1024;

/// Returns the files in which arguments are staged that a process has mapped, and those that it has open.
fn staging_files(pid: u32) -> (usize, usize) {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let is_one = |line: &&str| line.contains("/memfd:retry-staging");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let open = descriptors.into_iter().flatten().flatten();
    let names = open.filter_map(|one| std::fs::read_link(one.path()).ok());
    let open = names.filter(|name| name.to_string_lossy().contains("memfd:retry-staging"));
    (maps.lines().filter(is_one).count(), open.count())
}

fn is_returned_everywhere() -> bool {
    staging_files(std::process::id()) == (0, 0)
        && workers()
            .into_iter()
            .all(|pid| staging_files(pid) == (0, 0))
}

/// Returns whether an address is in memory that the program has staged something in.
fn is_staged<T: ?Sized>(value: &T) -> bool {
    let address = std::ptr::from_ref(value).cast::<u8>() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        line.contains("memfd:retry-staging") && (number(start)..number(end)).contains(&address)
    })
}

/// Returns bytes that differ from place to place: a block again and again, with the number of each.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    const BLOCK: usize = 4093;
    let block: Vec<u8> = (0..BLOCK)
        .map(|at| (seed + at / 7 + at % 251) as u8)
        .collect();
    let mut bytes = block.repeat(length.div_ceil(BLOCK));
    for (number, block) in bytes.chunks_exact_mut(BLOCK).enumerate() {
        block[..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn digest(bytes: &[u8]) -> u64 {
    let add = |sum: u64, word: u64| sum.wrapping_mul(31).wrapping_add(word);
    // By words, since loops of tests are not optimised.
    let (words, rest) = bytes.as_chunks();
    let mut sum = bytes.len() as u64;
    for word in words {
        sum = add(sum, u64::from_le_bytes(*word));
    }
    rest.iter()
        .fold(sum, |sum, byte| add(sum, u64::from(*byte)))
}

/// The findings of a function: a digest of its argument, and whether that was staged.
type Found = (u64, bool);

#[function(max_workers = 2)]
fn of_bytes(bytes: &[u8]) -> Found {
    (digest(bytes), is_staged(bytes))
}

#[function(max_workers = 2)]
fn of_text(text: &str) -> Found {
    (digest(text.as_bytes()), is_staged(text))
}

#[function(max_workers = 2)]
fn of_numbers(numbers: &[f64]) -> (f64, bool, usize) {
    let start = numbers.as_ptr();
    (
        numbers.iter().sum(),
        is_staged(numbers),
        start.align_offset(64),
    )
}

#[function(max_workers = 2)]
fn of_wide_numbers(numbers: &[i128]) -> (i128, bool) {
    (numbers.iter().sum(), is_staged(numbers))
}

#[function(max_workers = 2)]
fn of_several(
    name: &str,
    first: &[f64],
    scale: f64,
    second: &[u8],
    third: Vec<u32>,
    fourth: Bytes,
    last: &[u16],
) -> (String, f64, u64, u64, u64, u64, [bool; 4]) {
    (
        name.to_owned(),
        first.iter().sum::<f64>() * scale,
        digest(second),
        third.iter().copied().map(u64::from).sum(),
        digest(&fourth),
        last.iter().copied().map(u64::from).sum(),
        [
            is_staged(first),
            is_staged(second),
            is_staged(&third[..]),
            is_staged(last),
        ],
    )
}

#[function(max_workers = 2)]
fn of_vec(bytes: Vec<u8>) -> u64 {
    digest(&bytes)
}

#[function(max_workers = 2)]
fn of_string(text: String) -> u64 {
    digest(text.as_bytes())
}

#[function(max_workers = 2)]
fn of_own_bytes(bytes: Bytes) -> u64 {
    digest(&bytes)
}

#[function(max_workers = 2)]
fn of_own_numbers(numbers: Vec<i64>) -> i64 {
    numbers.iter().sum()
}

#[expect(clippy::ptr_arg, reason = "this is what is tested")]
#[function(max_workers = 2)]
fn of_borrowed_vec(bytes: &Vec<u8>) -> u64 {
    digest(bytes)
}

#[derive(Serialize, Deserialize)]
struct Image {
    name: String,
    width: u32,
    pixels: Bytes,
    note: Option<String>,
}

#[function(max_workers = 2)]
fn of_image(image: Image, scale: f32) -> (String, u64, usize, f32) {
    let note = image.note.map_or(0, |note| note.len());
    let name = format!("{} {}", image.name, image.width);
    (name, digest(&image.pixels), note, scale)
}

#[retry_runtime::test]
fn arguments_of_any_size_are_read_in_place() {
    fixture(LIMIT, serves, || {
        let page = 4096;
        let sizes = [
            0,
            1,
            page - 1,
            page,
            page + 1,
            LARGE - 1,
            LARGE,
            LARGE + 1,
            LARGE + page - 1,
            3 * MIB + 1,
        ];
        for (seed, size) in sizes.into_iter().enumerate() {
            let bytes = pattern(seed, size);
            let expected = (digest(&bytes), size >= LARGE);
            assert_eq!(of_bytes.remote(&bytes).wait().unwrap(), expected);
            assert_eq!(of_vec.remote(bytes.clone()).wait().unwrap(), expected.0);
            assert_eq!(of_borrowed_vec.remote(&bytes).wait().unwrap(), expected.0);
            let shared = Bytes::from(bytes);
            assert_eq!(of_own_bytes.remote(shared).wait().unwrap(), expected.0);
            let text = "ß1".repeat(size / 3);
            let expected = (digest(text.as_bytes()), text.len() >= LARGE);
            assert_eq!(of_text.remote(&text).wait().unwrap(), expected);
            assert_eq!(of_string.remote(text).wait().unwrap(), expected.0);
            let numbers: Vec<f64> = (0..size / 8).map(|number| number as f64).collect();
            let (sum, is_staged, offset) = of_numbers.remote(&numbers).wait().unwrap();
            assert_eq!(sum, numbers.iter().sum::<f64>());
            assert_eq!(is_staged, numbers.len() * 8 >= LARGE);
            assert!(!is_staged || offset == 0);
            let wide: Vec<i128> = (0..size / 16).map(|number| -(number as i128)).collect();
            let expected = (wide.iter().sum(), wide.len() * 16 >= LARGE);
            assert_eq!(of_wide_numbers.remote(&wide).wait().unwrap(), expected);
            let own: Vec<i64> = (0..size / 8).map(|number| number as i64).collect();
            let expected = own.iter().sum::<i64>();
            assert_eq!(of_own_numbers.remote(own).wait().unwrap(), expected);
        }
    });
}

#[retry_runtime::test]
fn several_arguments_and_parts_of_one_are_staged() {
    fixture(LIMIT, serves, || {
        // Every combination of small and large ones.
        for which in 0..32_usize {
            let size = |bit: usize| {
                if which >> bit & 1 == 1 {
                    LARGE + 40 * bit
                } else {
                    10
                }
            };
            let first: Vec<f64> = (0..size(0) / 8).map(|number| number as f64).collect();
            let (second, fourth) = (pattern(which, size(1)), pattern(which + 1, size(3)));
            let third: Vec<u32> = (0..size(2) as u32 / 4).collect();
            let last: Vec<u16> = vec![3; size(4) / 2];
            let call = of_several.remote(
                "name",
                &first,
                2.0,
                &second,
                third.clone(),
                fourth.clone().into(),
                &last,
            );
            let expected = (
                "name".to_owned(),
                first.iter().sum::<f64>() * 2.0,
                digest(&second),
                third.iter().copied().map(u64::from).sum(),
                digest(&fourth),
                3 * last.len() as u64,
                [
                    size_of_val(&first[..]) >= LARGE,
                    second.len() >= LARGE,
                    false,
                    size_of_val(&last[..]) >= LARGE,
                ],
            );
            assert_eq!(call.wait().unwrap(), expected);
        }
        for (pixels, note) in [(10, 10), (MIB, 10), (10, MIB), (MIB, MIB)] {
            let image = |seed| Image {
                name: "a".to_owned(),
                width: 7,
                pixels: pattern(seed, pixels).into(),
                note: Some("x".repeat(note)),
            };
            let expected = |seed| {
                let pixels = digest(&pattern(seed, pixels));
                ("a 7".to_owned(), pixels, note, 0.5)
            };
            assert_eq!(of_image.remote(image(1), 0.5).wait().unwrap(), expected(1));
            let inputs = (0..20).map(|seed| (image(seed), 0.5));
            for (seed, result) in (0..).zip(of_image.map(inputs)) {
                assert_eq!(result.unwrap(), expected(seed));
            }
        }
    });
}

#[retry_runtime::test]
fn inputs_of_maps_keep_their_contents_and_order() {
    fixture(LIMIT, serves, || {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let inputs: Vec<_> = (0..60)
            .map(|input| {
                let size = match random.u8(..4) {
                    0 => random.usize(..100),
                    1 => random.usize(LARGE - 100..LARGE + 100),
                    _ => random.usize(..4 * LARGE),
                };
                pattern(input, size)
            })
            .collect();
        for (input, result) in inputs.iter().zip(of_bytes.map(&inputs)) {
            assert_eq!(result.unwrap(), (digest(input), input.len() >= LARGE));
        }
        for (index, result) in of_vec.map(inputs.clone()).unordered().indexed() {
            assert_eq!(result.unwrap(), digest(&inputs[index]));
        }
        drop(of_bytes.map(&inputs).into_iter().next());
        let pairs = inputs.iter().map(|input| ("x", input));
        for (input, result) in inputs.iter().zip(after_text.map(pairs)) {
            assert_eq!(result.unwrap(), digest(input));
        }
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[function(max_workers = 2)]
async fn after_text(text: &str, bytes: &[u8]) -> u64 {
    let before = digest(bytes);
    tokio::time::sleep(Duration::from_millis(text.len() as u64)).await;
    assert_eq!(digest(bytes), before);
    before
}

#[function(max_workers = 1, batch(max_size = 8, max_wait = "5ms"))]
fn of_batch(inputs: Vec<Vec<u8>>) -> Vec<u64> {
    inputs.iter().map(|input| digest(input)).collect()
}

struct Sums(u64);

#[service(max_workers = 2)]
impl Sums {
    #[setup]
    fn new(first: Vec<u8>) -> Self {
        Self(digest(&first))
    }

    #[method]
    fn beside(&self, bytes: &[u8]) -> (u64, u64, bool) {
        (self.0, digest(bytes), is_staged(bytes))
    }
}

#[function(max_workers = 1)]
fn of_nested(bytes: &[u8]) -> Result<(u64, u64), String> {
    let found = of_bytes.remote(&bytes[1..]).wait();
    let (nested, _) = found.map_err(|error| error.to_string())?;
    Ok((digest(bytes), nested))
}

#[retry_runtime::test]
fn batches_services_and_nested_calls_get_their_arguments() {
    fixture(LIMIT, serves, || {
        let bytes = pattern(5, MIB / 2);
        let inputs: Vec<_> = (0..40).map(|seed| pattern(seed, LARGE + seed)).collect();
        for (input, result) in inputs.iter().zip(of_batch.map(&inputs)) {
            assert_eq!(result.unwrap(), digest(input));
        }
        // What a service is configured with goes to workers that start later, and is a part of its orders.
        let sums = Sums::with(bytes.clone());
        let expected = (digest(&bytes), digest(&inputs[3]), true);
        assert_eq!(sums.beside.remote(&inputs[3]).wait().unwrap(), expected);
        let expected = (digest(&bytes), digest(&bytes[1..]));
        assert_eq!(of_nested.remote(&bytes).wait().unwrap(), expected);
    });
}

const RUNS: u64 = 1;
const CHANGED: u64 = 2;
const DONE: u64 = 3;

/// Looks for a while whether the argument stays as it is.
#[function(max_workers = 1, grace = "30s")]
fn keeps_looking(ledger: PathBuf, time: Duration, bytes: &[u8]) {
    let begun = Instant::now();
    record(&ledger, RUNS);
    let first = bytes[0];
    while begun.elapsed() < time {
        if bytes.iter().step_by(512).any(|byte| *byte != first) {
            record(&ledger, CHANGED);
        }
    }
    record(&ledger, DONE);
}

#[retry_runtime::test]
fn a_call_that_was_given_up_keeps_its_arguments_until_it_has_ended() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let time = Duration::from_millis(1500);
        let runs = |input| ledger.executions().get(&input).copied().unwrap_or_default();
        // A cancelled call, one that times out, and one whose future is dropped.
        for round in 1..=3 {
            let bytes = vec![round as u8; MIB];
            let options = match round {
                1 => Options::new().timeout(Duration::from_millis(100)),
                _ => Options::new(),
            };
            let looks = keeps_looking.with_options(options);
            let call = looks.spawn(ledger.path(), time, &bytes);
            eventually("it runs", SOON, || runs(RUNS) == round);
            let call = match round {
                1 => Some(call),
                2 => {
                    call.cancel();
                    Some(call)
                }
                _ => {
                    drop(call);
                    None
                }
            };
            // Others of the same size use memory again meanwhile, but not that of this call.
            let mut others = 0;
            while runs(DONE) < round {
                let other = vec![100 + others; MIB];
                let found = of_bytes.remote(&other).wait().unwrap();
                assert_eq!(found, (digest(&other), true));
                others = (others + 1) % 100;
            }
            assert!(others > 0);
            match call.map(|call| call.wait()) {
                Some(Err(CallError::TimedOut(..))) if round == 1 => {}
                Some(Err(CallError::Cancelled(..))) if round == 2 => {}
                None => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(runs(CHANGED), 0);
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[function(max_workers = 2, retries = 4, timeout = "5s")]
fn fails_at_first(ledger: PathBuf, seed: u64, bytes: &[u8]) -> Result<(u64, u32), String> {
    record(&ledger, seed);
    let attempt = current().map_or(0, |call| call.attempt());
    // The attempts of a call see the same, however the one before has ended.
    if digest(bytes) != digest(&pattern(seed as usize, bytes.len())) {
        record(&ledger, u64::MAX);
    }
    match attempt {
        1 => Err("the first attempt".to_owned()),
        2 => panic!("the second attempt"),
        3 => std::process::abort(),
        _ => Ok((digest(bytes), attempt)),
    }
}

#[retry_runtime::test]
fn further_attempts_see_the_same_arguments() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let retries = retry_runtime::Retries::fixed(4, Duration::from_millis(20));
        let fails = fails_at_first.with_options(Options::new().retries(retries));
        let inputs: Vec<_> = (0..12).map(|seed| pattern(seed, MIB + seed)).collect();
        let calls = (0..)
            .zip(&inputs)
            .map(|(seed, bytes)| (ledger.path(), seed, bytes));
        for (input, result) in inputs.iter().zip(fails.map(calls)) {
            let (found, attempt) = result.unwrap();
            assert_eq!(found, digest(input));
            assert!(attempt >= 4, "{attempt}");
        }
        let executions = ledger.executions();
        assert_eq!(executions.len(), 12, "{executions:?}");
        assert!(executions.values().all(|runs| *runs >= 4));
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[function(max_workers = 2)]
fn lasts(ledger: PathBuf, bytes: &[u8]) -> u64 {
    record(&ledger, u64::from(bytes[0]));
    std::thread::sleep(Duration::from_millis(30));
    digest(bytes)
}

#[retry_runtime::test]
fn workers_may_be_killed_at_any_time() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let inputs: Vec<_> = (0..40).map(|seed| pattern(seed, 2 * LARGE)).collect();
        let (path, all) = (ledger.path(), inputs.clone());
        let map = std::thread::spawn(move || {
            let calls = all.iter().map(|bytes| (path.clone(), bytes));
            lasts.map(calls).into_iter().collect::<Vec<_>>()
        });
        let mut killed = 0;
        while !map.is_finished() {
            if let Some(entry) = ledger.entries().last()
                && killed < 6
                && kill_child(entry.pid)
            {
                killed += 1;
                let total = ledger.total();
                eventually("it goes on", SOON, || {
                    ledger.total() > total || map.is_finished()
                });
            }
            std::thread::yield_now();
        }
        let mut given_up = 0;
        for (input, result) in inputs.iter().zip(map.join().unwrap()) {
            match result {
                Ok(found) => assert_eq!(found, digest(input)),
                // Killed three times in a row.
                Err(CallError::Crashed(..)) => given_up += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(killed > 0 && given_up <= 2, "{killed} {given_up}");
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[retry_runtime::test]
fn many_queued_calls_need_few_descriptors() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        for size in [LARGE, 3 * MIB] {
            let bytes = pattern(1, size);
            let mut calls: Vec<_> = (0..200)
                .map(|_| lasts.spawn(ledger.path(), &bytes))
                .collect();
            let (_, open) = staging_files(std::process::id());
            assert!(open > 0 && open <= 64, "{open}");
            let others = calls.split_off(10);
            others.iter().for_each(retry_runtime::FunctionCall::cancel);
            for call in calls {
                assert_eq!(call.wait().unwrap(), digest(&bytes));
            }
            for call in others {
                match call.wait() {
                    // It had begun before.
                    Ok(found) => assert_eq!(found, digest(&bytes)),
                    Err(CallError::Cancelled(..)) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[retry_runtime::test]
fn calls_without_a_descriptor_or_memory_go_another_way() {
    fixture(LIMIT, serves, || {
        let bytes = pattern(1, MIB);
        assert!(of_bytes.remote(&bytes).wait().unwrap().1);
        eventually("it is returned", SOON, is_returned_everywhere);
        // No descriptor is left for staging memory.
        let limit = getrlimit(Resource::Nofile);
        let mut lower = limit;
        lower.current = Some(0);
        setrlimit(Resource::Nofile, lower).unwrap();
        let found = of_bytes.remote(&bytes).wait();
        setrlimit(Resource::Nofile, limit).unwrap();
        // The worker could read its maps, since the limit is this process's own.
        assert_eq!(found.unwrap(), (digest(&bytes), false));
        assert_eq!(
            of_bytes.remote(&bytes).wait().unwrap(),
            (digest(&bytes), true)
        );
        // A runtime that keeps none.
        let runtime = Runtime::builder().retained_memory(0).build().unwrap();
        let on = of_bytes.on(&runtime);
        assert_eq!(on.remote(&bytes).wait().unwrap(), (digest(&bytes), false));
        runtime.shutdown(SOON).wait();
        let inline = Runtime::builder().inline().build().unwrap();
        let on = of_bytes.on(&inline);
        assert_eq!(on.remote(&bytes).wait().unwrap(), (digest(&bytes), false));
        inline.shutdown(SOON).wait();
        // Beyond what a runtime keeps, memory is returned at once.
        let runtime = Runtime::builder().retained_memory(2 * MIB).build().unwrap();
        let large = pattern(2, 5 * MIB);
        let on = of_bytes.on(&runtime);
        assert_eq!(on.remote(&large).wait().unwrap(), (digest(&large), true));
        let own = of_vec.on(&runtime);
        assert_eq!(own.remote(large.clone()).wait().unwrap(), digest(&large));
        runtime.shutdown(SOON).wait();
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

/// Returns the numbers of the files in which this process has staged arguments.
fn staging_inodes() -> Vec<u64> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let is_one = |line: &&str| line.contains("/memfd:retry-staging");
    let inode = |line: &str| line.split_whitespace().nth(4)?.parse().ok();
    maps.lines().filter(is_one).filter_map(inode).collect()
}

#[retry_runtime::test]
fn memory_in_use_again_and_again_is_dropped_when_it_is_scarce() {
    fixture(LIMIT, serves, || {
        let pressure = tempfile::NamedTempFile::new().unwrap();
        let path = pressure.path().to_str().unwrap();
        set_variable("MEMORY_PRESSURE_WATCH", path);
        let (bytes, large) = (pattern(1, MIB), pattern(2, 9 * MIB));
        let calls = || {
            for one in [&bytes, &large] {
                assert!(of_bytes.remote(one).wait().unwrap().1);
            }
            staging_inodes()
        };
        let first = calls();
        assert!(!first.is_empty());
        let report = "some avg10=10.00 avg60=0.00 avg300=0.00 total=1\n";
        std::fs::write(path, report).unwrap();
        eventually("new memory is used", SOON, || {
            let now = calls();
            first.iter().all(|inode| !now.contains(inode))
        });
        // None is kept from now on, however long that lasts.
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            calls();
            eventually("it is returned at once", Duration::from_secs(1), || {
                staging_inodes().is_empty()
            });
            std::thread::sleep(Duration::from_millis(50));
        }
        std::fs::write(path, report.replace("10.00", "9.99")).unwrap();
        eventually("some is kept again", SOON, || {
            calls();
            std::thread::sleep(Duration::from_millis(50));
            !staging_inodes().is_empty()
        });
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[expect(unsafe_code, reason = "nothing safe sets it")]
fn set_variable(name: &str, value: &str) {
    // SAFETY: this process accesses its environment only through the standard library.
    unsafe { std::env::set_var(name, value) };
}

#[retry_runtime::test]
fn the_limit_on_messages_includes_what_is_staged() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().max_message(4 * MIB).build().unwrap();
        let refused = |result: Result<_, CallError<_>>| match result {
            Err(CallError::Rejected(Rejected::TooLarge { parameter, limit }, _)) => {
                assert_eq!(limit, 4 * MIB);
                parameter.to_string()
            }
            Ok(()) => panic!("it was not refused"),
            Err(other) => panic!("{other:?}"),
        };
        let (small, large, empty) = (vec![1; 3 * MIB], vec![1; 4 * MIB], Vec::new());
        let on = of_bytes.on(&runtime);
        assert_eq!(refused(on.remote(&large).wait().map(drop)), "bytes");
        assert!(on.remote(&large[..4 * MIB - 8]).wait().unwrap().1);
        let on_two = of_two.on(&runtime);
        assert_eq!(
            refused(on_two.remote(&small, &small).wait().map(drop)),
            "second"
        );
        // Each part counts as much as in the message, where its length precedes it.
        for (second, fits) in [(MIB - 16, true), (MIB - 15, false)] {
            let result = on_two.remote(&small, &small[..second]).wait();
            match fits {
                true => assert_eq!(result.unwrap(), 3 * MIB + second),
                false => assert_eq!(refused(result.map(drop)), "second"),
            }
        }
        let results = on_two.map([(&small, &small), (&small, &empty)]);
        let mut results = results.into_iter();
        assert_eq!(refused(results.next().unwrap().map(drop)), "second");
        assert_eq!(results.next().unwrap().unwrap(), small.len());
        runtime.shutdown(SOON).wait();
    });
}

#[function(max_workers = 1)]
fn of_two(first: &[u8], second: &[u8]) -> usize {
    first.len() + second.len()
}

#[function(max_workers = 1, memory = "96MiB")]
fn reads_with_little_memory(bytes: &[u8], own: usize) -> u64 {
    let own = std::hint::black_box(vec![1_u8; own]);
    let total = bytes
        .iter()
        .step_by(4096)
        .copied()
        .map(u64::from)
        .sum::<u64>();
    std::thread::sleep(Duration::from_millis(700));
    total + own.len() as u64
}

#[retry_runtime::test]
fn what_is_staged_does_not_count_for_the_memory_of_workers() {
    fixture(LIMIT, serves, || {
        let bytes = vec![1; 200 * MIB];
        let pages = (bytes.len() / 4096) as u64;
        assert_eq!(
            reads_with_little_memory.remote(&bytes, 0).wait().unwrap(),
            pages
        );
        let result = reads_with_little_memory.remote(&bytes, 160 * MIB).wait();
        assert!(matches!(result, Err(CallError::Crashed(..))), "{result:?}");
        drop(bytes);
        eventually("all is returned", SOON, is_returned_everywhere);
    });
}

#[retry_runtime::test]
fn forks_neither_use_nor_disturb_what_is_staged() {
    fixture(LIMIT, serves, || {
        let bytes = pattern(1, MIB);
        assert!(of_bytes.remote(&bytes).wait().unwrap().1);
        let call = of_bytes.remote(&bytes);
        let code = fork_with(|| {
            // This call was encoded before; its memory is the parent's.
            let is_refused = matches!(call.wait(), Err(CallError::Rejected(Rejected::Forked, _)));
            let is_served = of_bytes
                .remote(&bytes)
                .wait()
                .is_ok_and(|(_, staged)| staged);
            retry_runtime::shutdown(SOON).wait();
            i32::from(!(is_refused && is_served))
        });
        assert_eq!(code.code(), Some(0));
        // The iterator of a map forks while the map has staged inputs.
        let mut child = None;
        let inputs = (0..20_usize).map(|input| {
            if input == 10 {
                child = Some(retry_tests::fork());
            }
            pattern(input, LARGE + input)
        });
        let results: Vec<_> = of_vec.map(inputs).into_iter().collect();
        match child.flatten() {
            None => {
                let lost = results.iter().filter(|result| result.is_err()).count();
                std::process::exit(i32::from(lost < 10));
            }
            Some(child) => {
                for (input, result) in results.into_iter().enumerate() {
                    assert_eq!(result.unwrap(), digest(&pattern(input, LARGE + input)));
                }
                let pid = rustix::process::Pid::from_raw(child.cast_signed());
                let status = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
                let (_, status) = status.unwrap().unwrap();
                assert_eq!(status.exit_status(), Some(0));
            }
        }
        let found = of_bytes.remote(&bytes).wait().unwrap();
        assert_eq!(found, (digest(&bytes), true));
    });
}

#[function(max_workers = 1)]
fn leaks_descriptors(bytes: &[u8]) -> (u64, u32) {
    if bytes.is_empty() {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(limit.current.unwrap_or(256).min(256));
        setrlimit(Resource::Nofile, limit).unwrap();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            std::mem::forget(file);
        }
    }
    (digest(bytes), std::process::id())
}

#[retry_runtime::test]
fn a_worker_that_has_leaked_its_descriptors_gets_its_arguments() {
    fixture(LIMIT, serves, || {
        let (_, pid) = leaks_descriptors.remote(&[]).wait().unwrap();
        // Each size has files of its own.
        for size in [LARGE, MIB, 3 * MIB, LARGE] {
            let bytes = pattern(size, size);
            let found = leaks_descriptors.remote(&bytes).wait().unwrap();
            assert_eq!(found, (digest(&bytes), pid));
        }
        assert!(staging_files(pid).0 >= 3);
        assert!(kill_child(pid));
    });
}

/// Reads the numbers one after the other, and adds one to each.
fn one_by_one<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u16>, D::Error> {
    struct OneByOne;

    /// A number in a struct of its own.
    #[derive(Deserialize)]
    struct Element(u16);

    impl<'de> Visitor<'de> for OneByOne {
        type Value = Vec<u16>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("numbers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<u16>, A::Error> {
            let mut numbers = Vec::new();
            while let Some(Element(number)) = elements.next_element()? {
                numbers.push(number + 1);
            }
            Ok(numbers)
        }
    }

    from.deserialize_seq(OneByOne)
}

/// Text that is decoded by way of a reference to the message.
#[derive(Serialize)]
struct Upper(String);

impl<'de> Deserialize<'de> for Upper {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(from)?;
        Ok(Self(text.to_uppercase()))
    }
}

/// Numbers that are decoded as others than they were encoded as.
#[derive(Serialize)]
struct Wrong(Vec<u16>);

impl<'de> Deserialize<'de> for Wrong {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let numbers = VecDeque::<u32>::deserialize(from)?;
        Ok(Self(
            numbers.into_iter().map(|number| number as u16).collect(),
        ))
    }
}

#[derive(Serialize, Deserialize)]
struct Parts {
    #[serde(deserialize_with = "one_by_one")]
    numbers: Vec<u16>,
    text: Upper,
    queue: VecDeque<u16>,
    matrix: Vec<Vec<f32>>,
}

#[function(max_workers = 1)]
fn of_parts(parts: Parts, text: Upper) -> (u64, String, u64, f32, usize) {
    (
        parts.numbers.iter().copied().map(u64::from).sum(),
        parts.text.0,
        parts.queue.iter().copied().map(u64::from).sum(),
        parts.matrix.iter().flatten().sum(),
        text.0.len(),
    )
}

#[function(max_workers = 1)]
fn of_wrong(numbers: Wrong) -> usize {
    numbers.0.len()
}

#[function(max_workers = 1)]
fn of_queue(numbers: VecDeque<u16>) -> u64 {
    numbers.iter().copied().map(u64::from).sum()
}

#[retry_runtime::test]
fn types_that_read_their_parts_in_their_own_way_can_do_so() {
    fixture(LIMIT, serves, || {
        for count in [10, LARGE, 200_000] {
            let parts = Parts {
                numbers: vec![1; count],
                text: Upper("x".repeat(count)),
                queue: vec![3; count].into(),
                matrix: vec![vec![0.5; count]; 2],
            };
            let text = Upper("y".repeat(count));
            let expected = (
                2 * count as u64,
                "X".repeat(count),
                3 * count as u64,
                count as f32,
                count,
            );
            assert_eq!(of_parts.remote(parts, text).wait().unwrap(), expected);
            let queue = vec![3; count].into();
            assert_eq!(of_queue.remote(queue).wait().unwrap(), 3 * count as u64);
            match of_wrong.remote(Wrong(vec![1; count])).wait() {
                Err(CallError::Rejected(Rejected::NotDecodable { reason, .. }, _)) => {
                    assert!(reason.contains("does not read what it writes"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[function(max_workers = 1)]
fn panics_at_length(text: &str) -> usize {
    panic!("{text}")
}

#[function(max_workers = 1)]
fn asks_for_a_long_panic(length: usize) -> usize {
    match panics_at_length.remote(&"x".repeat(length)).wait() {
        Err(CallError::Panicked(panic, _)) => panic.message().len(),
        other => panic!("{other:?}"),
    }
}

#[retry_runtime::test]
fn only_arguments_are_staged_while_a_map_takes_its_inputs() {
    fixture(LIMIT, serves, || {
        // The iterator waits for calls, whose nested calls are answered by this thread.
        let inputs = (0..20_usize).map(|input| {
            let length = asks_for_a_long_panic.remote(2 * LARGE).wait().unwrap();
            assert_eq!(length, 2 * LARGE);
            pattern(input, LARGE)
        });
        for (input, result) in of_bytes.map(inputs).into_iter().enumerate() {
            assert_eq!(result.unwrap(), (digest(&pattern(input, LARGE)), true));
        }
    });
}
