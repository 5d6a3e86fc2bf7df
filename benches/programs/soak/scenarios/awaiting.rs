//! Calls from async code.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::{Driver, Inputs, Outstanding};
use crate::book::State;
use crate::job::Token;
use crate::stubs::Stub;
use crate::with_stub;

/// Makes calls in this task until the run is over.
pub async fn drive_async(mut driver: Driver) {
    while !driver.world.is_over() {
        let target = driver.target();
        with_stub!(target, |stub| make_calls(&mut driver, stub).await);
    }
}

/// Makes a few calls in one way. The future is boxed: each function has its own future type.
fn make_calls<S: Stub>(
    driver: &mut Driver,
    stub: S,
) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async move {
        match driver.rng.u32(0..100) {
            0..35 => one_after_the_other(driver, &stub).await,
            35..55 => together(driver, &stub).await,
            55..65 => give_up(driver, &stub).await,
            65..85 => stream(driver, &stub).await,
            _ => collect(driver, &stub).await,
        }
    })
}

async fn one_after_the_other<S: Stub>(driver: &mut Driver, stub: &S) {
    driver.begin("await", stub.target());
    for _ in 0..driver.rng.u32(1..20) {
        let job = driver.job(stub.target(), true);
        let token = job.token;
        let input = driver.enter::<S>(stub.target(), job, false);
        driver.settle::<S>(token, stub.remote(input).await);
    }
}

async fn together<S: Stub>(driver: &mut Driver, stub: &S) {
    driver.begin("join", stub.target());
    let jobs: Vec<_> = (0..driver.rng.u32(1..50))
        .map(|_| driver.job(stub.target(), false))
        .collect();
    let tokens: Vec<Token> = jobs.iter().map(|job| job.token).collect();
    let inputs = jobs
        .into_iter()
        .map(|job| driver.enter::<S>(stub.target(), job, false));
    let calls: Vec<_> = inputs.map(|input| stub.remote(input)).collect();
    for (token, result) in tokens.into_iter().zip(join_all(calls).await) {
        driver.settle::<S>(token, result);
    }
}

/// Drops the future of a call after some time, or waits for a spawned call.
async fn give_up<S: Stub>(driver: &mut Driver, stub: &S) {
    driver.begin("give up", stub.target());
    let job = driver.job(stub.target(), true);
    let token = job.token;
    let input = driver.enter::<S>(stub.target(), job, true);
    let patience = Duration::from_millis(driver.rng.u64(0..8));
    let spawned = driver.rng.u32(0..3) == 0;
    let result = if spawned {
        let mut call = stub.spawn(input);
        match tokio::time::timeout(patience, &mut call).await {
            Ok(result) => Some(result),
            Err(_) => {
                call.cancel();
                Some(call.await)
            }
        }
    } else {
        tokio::time::timeout(patience, stub.remote(input))
            .await
            .ok()
    };
    match result {
        Some(result) => driver.settle::<S>(token, result),
        None => driver.resolve(token, State::Abandoned),
    }
}

async fn stream<S: Stub>(driver: &mut Driver, stub: &S) {
    driver.begin("stream", stub.target());
    let jobs = driver.jobs(stub.target());
    let ordered = driver.rng.bool();
    let mut outstanding = Outstanding::new(&jobs, ordered);
    let taken = match driver.rng.u32(0..5) {
        0 => driver.rng.usize(0..jobs.len() + 1),
        _ => jobs.len() + 1,
    };
    let complete = taken > jobs.len();
    let mut map = stub.map(Inputs::<S>::new(driver, stub.target(), jobs, !complete));
    if !ordered {
        map = map.unordered();
    }
    if driver.rng.u32(0..3) == 0 {
        map = map.window(driver.rng.usize(1..100));
    }
    let mut results = map.stream();
    let mut seen = 0;
    while seen < taken
        && let Some(result) = results.next().await
    {
        outstanding.settle::<S>(driver, result);
        seen += 1;
    }
    drop(results);
    if complete {
        outstanding.is_complete(driver);
    } else {
        outstanding.abandon(driver);
    }
}

async fn collect<S: Stub>(driver: &mut Driver, stub: &S) {
    driver.begin("collect in async code", stub.target());
    let jobs = driver.jobs(stub.target());
    let mut outstanding = Outstanding::new(&jobs, true);
    let way = driver.rng.u32(0..3);
    let inputs = Inputs::<S>::new(driver, stub.target(), jobs, way > 0);
    let error = match way {
        0 => {
            for result in stub.map(inputs).await {
                outstanding.settle::<S>(driver, result);
            }
            return outstanding.is_complete(driver);
        }
        1 => match stub.map(inputs).try_collect::<Vec<_>>().await {
            Ok(values) => {
                for value in values {
                    outstanding.settle::<S>(driver, Ok(value));
                }
                return outstanding.is_complete(driver);
            }
            Err(error) => error,
        },
        _ => match stub.for_each(inputs).await {
            Ok(()) => return outstanding.succeed(driver),
            Err(error) => error,
        },
    };
    outstanding.fail::<S>(driver, error);
    outstanding.abandon(driver);
}
