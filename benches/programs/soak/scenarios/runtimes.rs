//! Runtimes that are created, used, and shut down.

use std::time::Duration;

use retry_runtime::{CallError, Rejected, Runtime};

use super::{Driver, Outstanding};
use crate::book::State;
use crate::functions::{plain, typed};
use crate::job::{Action, Job, Token};
use crate::run::World;
use crate::stubs::{self, Pool, Stub, Target, place_of_runtime};

/// Time that a runtime's calls may take after its shutdown was requested.
const GRACE: Duration = Duration::from_millis(300);

fn build(driver: &mut Driver) -> Option<Runtime> {
    let World { book, faults, .. } = driver.world;
    let workers = driver.rng.usize(1..4);
    match Runtime::builder()
        .max_workers(workers)
        .env("SOAK_RUNTIME", "1")
        .build()
    {
        Ok(runtime) => {
            book.count(|counts| counts.runtimes += 1);
            Some(runtime)
        }
        Err(_) if faults.limits_are_low() => None,
        Err(error) => {
            book.violation("a runtime cannot be made", error.to_string());
            None
        }
    }
}

/// Makes calls in a runtime, and shuts it down while some of them are pending.
pub(super) fn create_use_and_end(driver: &mut Driver) {
    let Some(runtime) = build(driver) else { return };
    let place = place_of_runtime();
    let target = Target::on(Pool::Typed, &runtime, place);
    driver.begin("runtime", &target);
    let stub = stubs::Typed(target.clone());
    let jobs: Vec<Job> = (0..driver.rng.u32(1..200))
        .map(|_| driver.job(&target, false))
        .collect();
    let mut outstanding = Outstanding::new(&jobs, true);
    for result in stub.map(super::Inputs::<stubs::Typed>::new(
        driver, &target, jobs, false,
    )) {
        outstanding.settle::<stubs::Typed>(driver, result);
    }
    outstanding.is_complete(driver);

    let jobs: Vec<Job> = (0..driver.rng.u32(0..20))
        .map(|_| driver.job(&target, false))
        .collect();
    let tokens: Vec<Token> = jobs.iter().map(|job| job.token).collect();
    let calls: Vec<_> = jobs
        .into_iter()
        .map(|job| stub.spawn(driver.enter::<stubs::Typed>(&target, job, true)))
        .collect();
    let by_dropping = driver.rng.u32(0..3) == 0;
    if by_dropping {
        drop((runtime, stub, target));
    } else {
        let shutdown = runtime.shutdown(GRACE);
        if driver.rng.bool() {
            shutdown.wait();
        }
    }
    for (token, call) in tokens.into_iter().zip(calls) {
        driver.settle::<stubs::Typed>(token, call.wait());
    }
}

/// Makes a call in a runtime that has been shut down.
pub(super) fn nobody_answers_after_the_end(driver: &mut Driver) {
    let Some(runtime) = build(driver) else { return };
    let place = place_of_runtime();
    let target = Target::on(Pool::Plain, &runtime, place);
    driver.begin("after the end", &target);
    if driver.rng.bool() {
        let mut job = driver.job(&target, false);
        job.action = Action::Return;
        let token = job.token;
        let input = driver.enter::<stubs::Plain>(&target, job, false);
        driver.settle::<stubs::Plain>(token, plain.on(&runtime).remote(input).wait());
    }
    runtime.shutdown(GRACE).wait();
    let job = Job::new(
        driver.world.book.token(),
        place,
        Action::Return,
        1,
        (10, 10),
    );
    let token = job.token;
    let target = Target::on(Pool::Typed, &runtime, place);
    let input = driver.enter::<stubs::Typed>(&target, job, true);
    let result = typed.on(&runtime).remote(&input).wait();
    if !matches!(result, Err(CallError::Rejected(Rejected::ShutDown, _))) {
        let found = format!("{token}: {result:?}");
        driver
            .world
            .book
            .violation("a call after the end of its runtime", found);
        return driver.resolve(token, State::Abandoned);
    }
    driver.settle::<stubs::Typed>(token, result);
}
