//! The memory that counts against `memory` and `max_rss_growth`, and the memory that does not.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use retry_runtime::{CallError, ExitCause, function};
use retry_tests::{fixture, fork_with};
use rustix::mm::{MapFlags, ProtFlags};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

const MIB: usize = 1 << 20;

/// Sleeps for longer than several measurements take.
fn rest() {
    std::thread::sleep(Duration::from_millis(300));
}

/// Reads every page of a file through a mapping.
#[expect(unsafe_code, reason = "a mapping of a file")]
fn reads_mapped(path: &PathBuf) -> u64 {
    let file = File::open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    // SAFETY: the mapping is new and is only read, and no process changes the file meanwhile.
    let bytes = unsafe {
        let start = rustix::mm::mmap(
            std::ptr::null_mut(),
            length,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            &file,
            0,
        );
        std::slice::from_raw_parts(start.unwrap().cast::<u8>(), length)
    };
    let sum = bytes
        .iter()
        .step_by(4096)
        .map(|byte| u64::from(*byte))
        .sum();
    rest();
    sum
}

#[function(memory = "100MiB", at_most_once)]
fn reads_under_a_limit(path: PathBuf) -> u64 {
    reads_mapped(&path)
}

#[function(max_workers = 1, max_rss_growth = "64MiB")]
fn reads_and_may_grow(path: Option<PathBuf>) -> u32 {
    path.iter().for_each(|path| assert!(reads_mapped(path) > 0));
    std::process::id()
}

#[retry_runtime::test]
fn a_file_that_is_read_through_a_mapping_is_not_counted() {
    fixture(LIMIT, serves, || {
        let mut file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for _ in 0..300 {
            file.write_all(&vec![1; MIB]).unwrap();
        }
        let path = file.path().to_owned();
        let pages = 300 * MIB as u64 / 4096;
        assert_eq!(
            reads_under_a_limit.remote(path.clone()).wait().unwrap(),
            pages
        );
        let first = reads_and_may_grow.remote(None).wait().unwrap();
        for path in [Some(path), None, None] {
            assert_eq!(reads_and_may_grow.remote(path).wait().unwrap(), first);
        }
    });
}

#[function(memory = "100MiB", at_most_once)]
fn shares_with_a_fork() -> i32 {
    let bytes = std::hint::black_box(vec![1u8; 70 * MIB]);
    let child = fork_with(|| {
        rest();
        i32::from(bytes[bytes.len() / 2])
    });
    child.code().unwrap()
}

#[retry_runtime::test]
fn memory_that_a_fork_shares_is_counted_once() {
    fixture(LIMIT, serves, || {
        assert_eq!(shares_with_a_fork.remote().wait().unwrap(), 1);
    });
}

#[function(memory = "100MiB", at_most_once)]
#[expect(unsafe_code, reason = "memory that is shared")]
fn fills_shared_memory() {
    // SAFETY: the mapping is new, and nothing else refers to it.
    let bytes = unsafe {
        let start = rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            200 * MIB,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
        );
        std::slice::from_raw_parts_mut(start.unwrap().cast::<u8>(), 200 * MIB)
    };
    bytes.chunks_mut(MIB).for_each(|mebibyte| {
        mebibyte.fill(1);
        std::thread::sleep(Duration::from_millis(2));
    });
    std::thread::sleep(Duration::from_secs(60));
}

#[retry_runtime::test]
fn shared_memory_that_no_file_stands_behind_is_counted() {
    fixture(LIMIT, serves, || {
        match fills_shared_memory.remote().wait() {
            Err(CallError::Crashed(crash, _)) => match crash.cause() {
                ExitCause::OutOfMemory { limit, .. } => assert_eq!(limit, 100 << 20),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    });
}
