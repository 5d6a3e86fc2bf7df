//! Attributes are copied to the item that they apply to.
#![deny(warnings)]
use retry_runtime::function;

/// The stub shows this documentation.
#[function]
#[must_use]
#[inline(never)]
#[allow(clippy::needless_pass_by_value)]
fn f(text: String) -> usize {
    text.len()
}

#[cfg(any())]
#[function]
fn not_there(value: NoSuchType) {}

#[cfg(all())]
#[function]
fn there() -> u64 {
    1
}

#[function]
#[cfg(all())]
fn there_too() -> u64 {
    1
}

#[function]
#[expect(unused_variables)]
fn expected(number: u64) {}

fn main() {
    assert_eq!(
        f(String::from("ab")) + there() as usize + there_too() as usize,
        4
    );
    expected(1);
}
