//! A pool of procspawn, and an equivalent of `.map()` for it.

use std::collections::VecDeque;
use std::hint::black_box;

use procspawn::{JoinHandle, Pool};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The pool accepts two large calls at once; a third one would block for ever.
pub(crate) const LARGE_IN_FLIGHT: usize = 2;
pub(crate) const IN_FLIGHT: usize = 64;

pub(crate) fn start(workers: usize) -> Pool {
    Pool::new(workers).expect("a pool")
}

/// Maps a function over inputs with this many calls in flight.
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
