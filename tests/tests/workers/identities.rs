//! Ids of calls and runs, and the origin of attempts, across processes.

use std::collections::BTreeSet;
use std::time::Duration;

use retry_runtime::{CallError, CallId, RunId, Runtime, function};
use retry_tests::{fixture, fork_with};

use crate::serving::{echo, serves};

const LIMIT: Duration = Duration::from_secs(120);

/// Returns the id of the call, as text and as a value, and the run of the process.
#[function(max_workers = 2)]
fn identity() -> (CallId, String, String) {
    let id = retry_runtime::current().unwrap().call_id();
    (id, id.to_string(), RunId::current().to_string())
}

#[function(max_workers = 2)]
fn fails() -> Result<(), String> {
    Err("as planned".to_owned())
}

/// Returns the ids of calls that the function makes: as the function sees them, and as the calls do.
#[function(max_workers = 2)]
fn inner() -> (Vec<CallId>, Vec<CallId>) {
    let calls: Vec<_> = (0..3).map(|_| identity.spawn()).collect();
    let ids = calls.iter().map(|call| call.id()).collect();
    let seen = calls.into_iter().map(|call| call.wait().unwrap().0);
    (ids, seen.collect())
}

#[function(max_workers = 2)]
fn fails_within() -> Result<(), CallError<String>> {
    fails.remote().wait()
}

#[retry_runtime::test]
fn a_call_has_the_same_id_in_both_processes() {
    fixture(LIMIT, serves, || {
        let call = identity.spawn();
        let id = call.id();
        let (seen, text, run) = call.wait().unwrap();
        assert_eq!(seen, id);
        assert_eq!(text, id.to_string());
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(run, RunId::current().to_string());
        assert_eq!(id.run(), RunId::current());
    });
}

#[retry_runtime::test]
fn calls_of_all_runtimes_have_different_ids() {
    fixture(LIMIT, serves, || {
        let runtimes = [(); 2].map(|()| Runtime::builder().max_workers(1).build().unwrap());
        let mut ids = BTreeSet::new();
        for runtime in &runtimes {
            let calls: Vec<_> = (0..10).map(|_| identity.on(runtime).spawn()).collect();
            for call in calls {
                let id = call.id();
                assert_eq!(call.wait().unwrap().0, id);
                assert!(ids.insert(id), "{id}");
            }
            for result in identity.on(runtime).map(vec![(); 10]) {
                assert!(ids.insert(result.unwrap().0));
            }
            let (made, seen) = inner.on(runtime).remote().wait().unwrap();
            assert_eq!(made, seen);
            for id in made {
                assert!(ids.insert(id), "{id}");
            }
        }
        let inline = Runtime::builder().inline().build().unwrap();
        for value in 0..10 {
            let call = echo.on(&inline).spawn(value);
            assert!(ids.insert(call.id()), "{}", call.id());
            assert_eq!(call.wait().unwrap(), value);
        }
        assert!(ids.iter().all(|id| id.run() == RunId::current()));
        for runtime in runtimes.iter().chain([&inline]) {
            runtime.shutdown(Duration::from_secs(20)).wait();
        }
    });
}

#[retry_runtime::test]
fn an_error_keeps_the_id_and_the_attempts_of_its_call() {
    fixture(LIMIT, serves, || {
        let call = fails_within.spawn();
        let id = call.id();
        let Err(CallError::Function(within, context)) = call.wait() else {
            panic!("it succeeded");
        };
        assert_eq!(context.call_id(), id);
        assert_eq!(within.context().call_id().run(), id.run());
        assert_ne!(within.context().call_id(), id);
        let events = retry_runtime::events();
        echo.remote(1).wait().unwrap();
        let host = events.into_iter().next().unwrap().host;
        for context in [&context, within.context()] {
            let [attempt] = context.attempts() else {
                panic!("{context:?}");
            };
            assert_eq!(attempt.host, host);
            assert!(attempt.start.elapsed() < LIMIT);
        }
        // Reports name machines only where that says something.
        assert!(!format!("{within:?}").contains(&format!(" on {host}")));
    });
}

#[retry_runtime::test]
fn a_forked_child_has_a_run_of_its_own() {
    fixture(LIMIT, serves, || {
        let of_parent = echo.spawn(5);
        let id = of_parent.id();
        let run = RunId::current();
        let child = fork_with(|| {
            let call = identity.spawn();
            let own = call.id();
            let is_own = RunId::current() != run && own.run() == RunId::current();
            let is_same = call.wait().unwrap().0 == own;
            let stays = of_parent.id() == id;
            retry_runtime::shutdown(Duration::from_secs(10)).wait();
            i32::from(!(is_own && is_same && stays))
        });
        assert_eq!(child.code(), Some(0));
        assert_eq!(of_parent.wait().unwrap(), 5);
    });
}
