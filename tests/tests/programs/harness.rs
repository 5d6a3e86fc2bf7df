//! Tests of the fixture itself: it fails a test in each of the documented cases.

use std::process::Command;
use std::time::Duration;

use retry_runtime::function;
use retry_tests::{fixture, fixture_outside, refused};

const LIMIT: Duration = Duration::from_secs(60);

#[function]
fn echo(value: u64) -> u64 {
    value
}

fn serves() -> bool {
    echo.remote(1).wait().is_ok_and(|value| value == 1)
}

#[function]
fn starts(program: String, arguments: Vec<String>) -> bool {
    // The function does not wait for the process.
    Command::new(program).args(arguments).spawn().is_ok()
}

#[retry_runtime::test]
fn a_test_that_leaves_nothing_passes() {
    fixture(LIMIT, serves, || assert!(serves()));
}

#[retry_runtime::test]
fn a_descriptor_that_stays_open_is_noticed() {
    refused("descriptors instead of", || {
        fixture(LIMIT, serves, || {
            std::mem::forget(std::fs::File::open("/dev/null").unwrap());
        });
    });
}

#[retry_runtime::test]
fn a_thread_that_stays_is_noticed() {
    refused("instead of [", || {
        fixture(LIMIT, serves, || {
            std::thread::spawn(|| std::thread::sleep(LIMIT));
        });
    });
}

#[expect(clippy::zombie_processes, reason = "that is the point of it")]
#[retry_runtime::test]
fn an_unreaped_child_is_noticed() {
    refused("state: 'Z'", || {
        fixture(LIMIT, serves, || {
            Command::new("true").spawn().unwrap();
        });
    });
}

#[retry_runtime::test]
fn a_grandchild_that_slipped_away_is_noticed() {
    refused("name: \"sleep\"", || {
        fixture(LIMIT, serves, || {
            let script = "setsid sleep 30 & exit 0";
            let status = Command::new("sh").args(["-c", script]).status().unwrap();
            assert!(status.success());
        });
    });
}

#[retry_runtime::test]
fn a_process_that_a_worker_started_is_noticed() {
    refused("name: \"sleep\"", || {
        fixture(LIMIT, serves, || {
            let call = starts.remote("sleep".to_owned(), vec!["30".to_owned()]);
            assert!(call.wait().unwrap());
        });
    });
}

#[retry_runtime::test]
fn a_process_that_a_dead_worker_started_is_no_worker() {
    refused("processes that are no workers", || {
        fixture(LIMIT, serves, || {
            // The process kills its worker only after it has left the worker's group and removed the variable
            // that would identify it.
            let script = "exec env -u RETRY_LINEAGE setsid sh -c 'kill -9 $0; exec sleep 30' $PPID";
            let arguments = ["-c", script].map(str::to_owned);
            let call = starts.remote("sh".to_owned(), arguments.into());
            let _ = call.wait();
        });
    });
}

#[retry_runtime::test]
fn memory_that_stays_is_noticed() {
    refused("bytes resident", || {
        fixture(LIMIT, serves, || {
            std::mem::forget(std::hint::black_box(vec![1u8; 32 << 20]))
        });
    });
}

#[retry_runtime::test]
fn a_hang_is_ended_and_explained() {
    refused("hangs: a call was not resolved within", || {
        fixture(Duration::from_secs(1), serves, || std::thread::sleep(LIMIT));
    });
}

#[retry_runtime::test]
fn a_pool_that_does_not_serve_is_noticed() {
    let once = std::sync::atomic::AtomicBool::new(true);
    refused("the pool does not serve any more", || {
        let serves = || once.swap(false, std::sync::atomic::Ordering::Relaxed) && serves();
        fixture(LIMIT, serves, || {});
    });
}

#[expect(clippy::zombie_processes, reason = "that is the point of it")]
#[test]
fn a_program_that_stays_is_noticed() {
    refused("name: \"sleep\"", || {
        fixture_outside(LIMIT, || {
            Command::new("sleep").arg("30").spawn().unwrap();
        });
    });
}
