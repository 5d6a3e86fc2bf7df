//! Separate runtimes, their shutdown, and the output of their workers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, Cancelled, EventKind, Rejected, RunId, Runtime, function};
use retry_tests::{Ledger, eventually, fixture, record};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

#[function]
fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

#[function]
fn directory() -> PathBuf {
    std::env::current_dir().unwrap()
}

#[function(max_workers = 8)]
fn own_pid(milliseconds: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    std::process::id()
}

#[function]
fn sleeps(ledger: PathBuf, milliseconds: u64) -> u64 {
    record(&ledger, milliseconds);
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

#[retry_runtime::test]
fn a_runtime_has_workers_settings_and_an_end_of_its_own() {
    fixture(LIMIT, serves, || {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::builder()
            .max_workers(1)
            .env("MOON", "full")
            .env_remove("PATH")
            .current_dir(folder.path())
            .build()
            .unwrap();
        let mut pids: Vec<u32> = own_pid
            .on(&runtime)
            .map([10; 8])
            .into_iter()
            .map(Result::unwrap)
            .collect();
        pids.dedup();
        assert_eq!(pids.len(), 1, "one worker at most");
        let on = variable.on(&runtime);
        assert_eq!(on.remote("MOON".into()).wait().unwrap().unwrap(), "full");
        assert_eq!(on.remote("PATH".into()).wait().unwrap(), None);
        assert_eq!(variable.remote("MOON".into()).wait().unwrap(), None);
        assert_eq!(
            directory.on(&runtime).remote().wait().unwrap(),
            folder.path().canonicalize().unwrap()
        );
        assert_eq!(runtime.shutdown(Duration::from_secs(5)).wait(), []);
        match on.remote("MOON".into()).wait() {
            Err(CallError::Rejected(Rejected::ShutDown, _)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(runtime.shutdown(Duration::ZERO).wait(), [], "once more");
    });
}

#[retry_runtime::test]
fn a_shutdown_names_the_calls_that_outlast_its_grace() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().max_workers(2).build().unwrap();
        let ledger = Ledger::new();
        let on = sleeps.on(&runtime);
        let quick = on.spawn(ledger.path(), 300);
        let slow = on.spawn(ledger.path(), 60_000);
        eventually("both run", Duration::from_secs(20), || ledger.total() == 2);
        let begun = Instant::now();
        let abandoned = runtime.shutdown(Duration::from_secs(1)).wait();
        assert!(begun.elapsed() >= Duration::from_millis(900));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(abandoned.len(), 1);
        assert_eq!(abandoned[0].call_id(), slow.id());
        assert!(
            abandoned[0]
                .to_string()
                .starts_with(&format!("sleeps ({}", RunId::current()))
        );
        assert_eq!(quick.wait().unwrap(), 300);
        match slow.wait() {
            Err(CallError::Cancelled(Cancelled::ByShutdown, _)) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[retry_runtime::test]
fn dropping_a_runtime_cancels_its_pending_calls() {
    fixture(LIMIT, serves, || {
        let runtime = Runtime::builder().build().unwrap();
        let ledger = Ledger::new();
        let call = sleeps.on(&runtime).spawn(ledger.path(), 60_000);
        drop(runtime);
        assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
    });
}

fn opens() -> u64 {
    7
}

fn closes(_: u64) {
    if let Some(sign) = std::env::var_os("SIGN") {
        std::fs::write(sign, "closed").unwrap();
    }
}

#[function(setup = opens, teardown = closes)]
fn holds(state: &u64) -> u64 {
    *state
}

#[retry_runtime::test]
fn a_shutdown_runs_the_teardown() {
    fixture(LIMIT, serves, || {
        let folder = tempfile::tempdir().unwrap();
        let sign = folder.path().join("sign");
        let runtime = Runtime::builder().env("SIGN", &sign).build().unwrap();
        assert_eq!(holds.on(&runtime).remote().wait().unwrap(), 7);
        runtime.shutdown(Duration::from_secs(5)).wait();
        assert!(sign.exists());
    });
}

#[retry_runtime::test]
fn many_runtimes_come_and_go() {
    fixture(LIMIT, serves, || {
        for round in 0..20 {
            let runtime = Runtime::builder().max_workers(1).build().unwrap();
            assert_eq!(echo.on(&runtime).remote(round).wait().unwrap(), round);
            runtime.shutdown(Duration::from_secs(5)).wait();
        }
    });
}

#[function(max_workers = 1)]
fn chats(line: String) {
    println!("{line}");
}

#[retry_runtime::test]
fn a_line_is_told_with_the_call_that_printed_it() {
    fixture(LIMIT, serves, || {
        let mut events = retry_runtime::events();
        let mut call = chats.spawn("hello".to_owned());
        call.get(Duration::from_secs(20)).unwrap().unwrap();
        let told = std::iter::from_fn(|| events.try_next()).find_map(|event| match event.kind {
            EventKind::Output { line, .. } if line == "hello" => Some(event.call),
            _ => None,
        });
        assert_eq!(told, Some(Some(call.id())));
    });
}
