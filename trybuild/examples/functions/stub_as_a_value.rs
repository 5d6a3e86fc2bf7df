//! The stub is a unit struct: it can be passed as a value, and its methods can be chained.
use retry_runtime::{Options, function};
use std::time::Duration;

#[function]
fn f(number: u64) -> u64 {
    number + 1
}

fn apply(function: fn(u64) -> u64) -> u64 {
    function(1)
}

pub(crate) fn main() {
    let pointer: &fn(u64) -> u64 = &f;
    assert_eq!(apply(*pointer), 2);
    assert_eq!(f.local(1), 2);
    assert_eq!([1, 2].map(|number| f(number)), [2, 3]);
    let patient = f.with_options(Options::new().timeout(Duration::from_secs(9)));
    assert_eq!(patient(1), 2);
    let _ = patient
        .remote(1)
        .retries(3)
        .deadline(Duration::from_secs(10));
    assert_eq!(patient.name(), f.name());
}
