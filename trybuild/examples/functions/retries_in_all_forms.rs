//! A policy as a number, as constants of several types, and as a list.
use retry_runtime::{Retries, function};
use std::time::Duration;

const BYTE: u8 = 2;
const SIGNED: i32 = 3;
const POLICY: Retries = Retries::exponential(5).initial_delay(Duration::from_millis(200));
const TIMES: u32 = 7;
const COEFFICIENT: f64 = 1.5;
const DELAY: Duration = Duration::from_secs(2);

#[function(retries = 2u32)]
fn number() {}

#[function(retries = BYTE)]
fn byte() {}

#[function(retries = SIGNED)]
fn signed() {}

#[function(retries = POLICY.jitter())]
fn policy() {}

#[function(retries = 0, at_most_once)]
fn once() {}

#[function(retries(max_retries = TIMES, backoff_coefficient = COEFFICIENT, initial_delay = DELAY, max_delay = "24h"))]
fn list() {}

#[function(retries(max_retries = 3, backoff_coefficient = 3, initial_delay = "0s", jitter))]
fn literals() {}

pub(crate) fn main() {
    assert_eq!(number.spec().retries, Retries::from(2));
    assert_eq!(byte.spec().retries, Retries::from(2));
    assert_eq!(signed.spec().retries, Retries::from(3));
    assert_eq!(policy.spec().retries, POLICY.jitter());
    assert_eq!(once.spec().retries, Retries::from(0));
    let expected = Retries::exponential(7)
        .backoff_coefficient(1.5)
        .initial_delay(DELAY)
        .max_delay(Duration::from_secs(86_400));
    assert_eq!(list.spec().retries, expected);
    let expected = Retries::exponential(3)
        .backoff_coefficient(3.0)
        .initial_delay(Duration::ZERO)
        .jitter();
    assert_eq!(literals.spec().retries, expected);
}
