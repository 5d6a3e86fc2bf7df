//! Attributes are copied to the item that they apply to.
#![deny(warnings)]
use retry_runtime::{function, service};

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

/// Only calls are warned about.
#[function]
#[deprecated]
fn old(number: u64) -> u64 {
    number
}

struct Old;

#[service]
impl Old {
    #[setup]
    #[deprecated]
    fn new() -> Self {
        Self
    }

    #[method]
    #[deprecated]
    fn get(&self) -> u64 {
        1
    }

    #[teardown]
    #[deprecated]
    fn close(self) {}
}

pub(crate) fn main() {
    assert_eq!(
        f(String::from("ab")) + there() as usize + there_too() as usize,
        4
    );
    expected(1);
    #[expect(deprecated)]
    let _ = old.remote(1);
    #[expect(deprecated)]
    let handle = Old::with();
    #[expect(deprecated)]
    let _ = handle.get.remote();
}
