//! A function over many inputs at once: callers pass and receive single ones.
use retry_runtime::{Call, function};
use std::convert::Infallible;

type Numbers = Vec<u64>;

#[function(batch(max_size = 64, max_wait = "5ms"))]
fn double(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().map(|number| number * 2).collect()
}

#[function(batch(max_size = MOST))]
fn halve(numbers: Numbers) -> Vec<Result<u64, String>> {
    numbers.into_iter().map(|number| Ok(number / 2)).collect()
}

fn load() -> u64 {
    3
}

#[function(batch(max_size = 8), setup = load)]
fn add(state: &u64, numbers: Vec<u64>) -> Numbers {
    numbers.into_iter().map(|number| number + state).collect()
}

const MOST: usize = 32;

pub(crate) fn main() {
    let _: Call<u64, Infallible> = double.remote(3);
    let _: Call<u64, String> = halve.remote(3);
    let _ = add.map([1, 2, 3]);
    assert_eq!(double(vec![1, 2]), [2, 4]);
    assert_eq!(double.spec().batch.unwrap().max_size, 64);
    let batch = halve.spec().batch.unwrap();
    assert_eq!((batch.max_size, batch.max_wait.as_millis()), (32, 10));
}
