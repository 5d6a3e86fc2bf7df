//! `mut` and `_` are permitted in parameters.
#![deny(warnings)]
use retry_runtime::function;

#[function]
fn f(mut number: u64, _: String, _unused: u8) -> u64 {
    number += 1;
    number
}

#[function]
async fn g(_: &str, mut numbers: Vec<u64>) -> usize {
    numbers.push(1);
    numbers.len()
}

pub(crate) fn main() {
    assert_eq!(f(1, String::new(), 0), 2);
    let _ = f.remote(1, String::new(), 0);
    let _ = g.remote("", vec![]);
}
