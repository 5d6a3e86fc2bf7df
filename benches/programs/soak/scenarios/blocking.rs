//! Calls from a blocking thread.

use std::time::Duration;

use super::{Driver, Inputs, Outstanding};
use crate::book::State;
use crate::job::Token;
use crate::stubs::Stub;

/// Makes a few calls in one way.
pub fn make_calls<S: Stub>(driver: &mut Driver, stub: &S) {
    type Way<S> = fn(&mut Driver, &S);
    let ways: [(u32, &'static str, Way<S>); 8] = [
        (30, "wait", wait),
        (12, "spawn", spawn),
        (6, "get", get),
        (4, "detach", detach),
        (4, "cancel", cancel),
        (20, "map", map),
        (5, "drop a map", drop_map),
        (8, "collect", collect),
    ];
    let choices: Vec<_> = ways
        .iter()
        .map(|(weight, name, way)| (*weight, (*name, *way)))
        .collect();
    let (name, way) = driver.weighted(&choices);
    driver.begin(name, stub.target());
    way(driver, stub);
}

fn wait<S: Stub>(driver: &mut Driver, stub: &S) {
    for _ in 0..driver.rng.u32(1..20) {
        let job = driver.job(stub.target(), true);
        let token = job.token;
        let input = driver.enter::<S>(stub.target(), job, false);
        driver.settle::<S>(token, stub.remote(input).wait());
    }
}

/// Starts several calls, and waits for all of them together or one after the other.
fn spawn<S: Stub>(driver: &mut Driver, stub: &S) {
    let jobs: Vec<_> = (0..driver.rng.u32(1..30))
        .map(|_| driver.job(stub.target(), false))
        .collect();
    let tokens: Vec<Token> = jobs.iter().map(|job| job.token).collect();
    let inputs = jobs
        .into_iter()
        .map(|job| driver.enter::<S>(stub.target(), job, false));
    let calls: Vec<_> = inputs.map(|input| stub.spawn(input)).collect();
    if driver.rng.bool() {
        for (token, result) in tokens.into_iter().zip(retry_runtime::join(calls).wait()) {
            driver.settle::<S>(token, result);
        }
    } else {
        for (token, call) in tokens.into_iter().zip(calls).rev() {
            driver.settle::<S>(token, call.wait());
        }
    }
}

/// Polls for the result repeatedly.
fn get<S: Stub>(driver: &mut Driver, stub: &S) {
    let job = driver.job(stub.target(), true);
    let token = job.token;
    let input = driver.enter::<S>(stub.target(), job, false);
    let mut call = stub.spawn(input);
    loop {
        let result = match driver.rng.bool() {
            true => call.try_get(),
            false => call.get(Duration::from_micros(driver.rng.u64(0..5000))),
        };
        if let Some(result) = result {
            return driver.settle::<S>(token, result);
        }
    }
}

/// Drops the handle, so that the call runs on its own.
fn detach<S: Stub>(driver: &mut Driver, stub: &S) {
    for _ in 0..driver.rng.u32(1..5) {
        let mut job = driver.job(stub.target(), false);
        job.action = crate::job::Action::Return;
        let token = job.token;
        let input = driver.enter::<S>(stub.target(), job, false);
        drop(stub.spawn(input));
        driver.resolve(token, State::Detached);
    }
}

fn cancel<S: Stub>(driver: &mut Driver, stub: &S) {
    let job = driver.job(stub.target(), true);
    let token = job.token;
    let input = driver.enter::<S>(stub.target(), job, true);
    let call = stub.spawn(input);
    if driver.rng.bool() {
        std::thread::sleep(Duration::from_micros(driver.rng.u64(0..3000)));
    }
    call.cancel();
    driver.settle::<S>(token, call.wait());
}

fn map<S: Stub>(driver: &mut Driver, stub: &S) {
    let jobs = driver.jobs(stub.target());
    let ordered = driver.rng.bool();
    let mut outstanding = Outstanding::new(&jobs, ordered);
    let mut map = stub.map(Inputs::<S>::new(driver, stub.target(), jobs, false));
    if !ordered {
        map = map.unordered();
    }
    if driver.rng.u32(0..3) == 0 {
        map = map.window(driver.rng.usize(1..100));
    }
    for result in map {
        outstanding.settle::<S>(driver, result);
    }
    outstanding.is_complete(driver);
}

/// Takes some results of a map, and drops the rest.
fn drop_map<S: Stub>(driver: &mut Driver, stub: &S) {
    let jobs = driver.jobs(stub.target());
    let ordered = driver.rng.bool();
    let mut outstanding = Outstanding::new(&jobs, ordered);
    let taken = driver.rng.usize(0..jobs.len() + 1);
    let mut map = stub.map(Inputs::<S>::new(driver, stub.target(), jobs, true));
    if !ordered {
        map = map.unordered();
    }
    let mut results = map.into_iter();
    for result in results.by_ref().take(taken) {
        outstanding.settle::<S>(driver, result);
    }
    drop(results);
    outstanding.abandon(driver);
}

/// Runs all inputs, or stops at the first error, with `try_collect` or `for_each`.
fn collect<S: Stub>(driver: &mut Driver, stub: &S) {
    let jobs = driver.jobs(stub.target());
    let mut outstanding = Outstanding::new(&jobs, true);
    let inputs = Inputs::<S>::new(driver, stub.target(), jobs, true);
    let error = if driver.rng.bool() {
        match stub.map(inputs).try_collect::<Vec<_>>().wait() {
            Ok(values) => {
                for value in values {
                    outstanding.settle::<S>(driver, Ok(value));
                }
                return outstanding.is_complete(driver);
            }
            Err(error) => error,
        }
    } else {
        match stub.for_each(inputs).wait() {
            Ok(()) => return outstanding.succeed(driver),
            Err(error) => error,
        }
    };
    outstanding.fail::<S>(driver, error);
    outstanding.abandon(driver);
}
