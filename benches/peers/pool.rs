//! A pool of procspawn, and what `.map()` would be for it.

use std::collections::VecDeque;
use std::hint::black_box;

use procspawn::{JoinHandle, Pool};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// It takes two large calls at once; with a third it blocks for good.
pub(crate) const LARGE_IN_FLIGHT: usize = 2;
pub(crate) const IN_FLIGHT: usize = 64;

pub(crate) fn start(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool")
}

/// With so many calls under way.
pub(crate) fn map<A, R>(
    pool: &Pool,
    inputs: impl IntoIterator<Item = A>,
    function: fn(A) -> R,
    in_flight: usize,
) where
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let mut calls = VecDeque::new();
    for input in inputs {
        if calls.len() == in_flight {
            calls.pop_front().into_iter().for_each(finish);
        }
        calls.push_back(pool.spawn(input, function));
    }
    calls.into_iter().for_each(finish);
}

fn finish<R: Serialize + DeserializeOwned + Send + 'static>(call: JoinHandle<R>) {
    black_box(call.join().expect("a result"));
}
