//! Functions that call functions: the same pool runs the inner calls, and cannot deadlock.
//!
//! `cargo run --example nested`

use std::ops::Range;

use retry_runtime::{function, local_entrypoint};

/// Counts the primes of a range by trial division.
#[function]
fn primes_in(range: Range<u64>) -> usize {
    range.filter(|number| is_prime(*number)).count()
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

/// Splits its range into ten parts and counts them in other calls. It occupies its own worker meanwhile, even
/// if `max_workers` is 1.
#[function(max_workers = 1)]
fn count_in_parts(range: Range<u64>) -> usize {
    let length = (range.end - range.start) / 10;
    let parts = (0..10).map(|part| {
        let start = range.start + part * length;
        start..start + length
    });
    let counts = primes_in.map(parts).into_iter();
    counts
        .map(|count| count.expect("counting does not fail"))
        .sum()
}

/// Calls itself: a merge sort that sorts its halves in nested calls.
#[function(max_workers = 2)]
fn sort(numbers: Vec<u64>) -> Vec<u64> {
    if numbers.len() <= 250 {
        let mut numbers = numbers;
        numbers.sort_unstable();
        return numbers;
    }
    let (left, right) = numbers.split_at(numbers.len() / 2);
    let left = sort.spawn(left.to_vec());
    let right = sort.remote(right.to_vec()).wait().expect("it sorts");
    merge(left.wait().expect("it sorts"), right)
}

fn merge(left: Vec<u64>, right: Vec<u64>) -> Vec<u64> {
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        merged.extend(if one <= other {
            left.next()
        } else {
            right.next()
        });
    }
    merged.extend(left.chain(right));
    merged
}

/// Counts primes and sorts numbers.
#[local_entrypoint]
fn main() {
    let thousands = (0..5).map(|part| part * 10_000..(part + 1) * 10_000);
    let counts = count_in_parts.map(thousands.clone());
    for (range, count) in thousands.zip(counts) {
        match count {
            Ok(count) => println!("{count} primes in {range:?}"),
            Err(error) => println!("{error}"),
        }
    }
    // Scattered numbers from a linear congruential generator.
    let mut state = 1u64;
    let numbers = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 40
    });
    let sorted = sort.remote(numbers.take(2000).collect()).wait();
    println!(
        "2000 numbers sorted: {}",
        sorted.is_ok_and(|numbers| numbers.is_sorted() && numbers.len() == 2000)
    );
}
