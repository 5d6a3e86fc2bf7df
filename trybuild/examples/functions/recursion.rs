//! A function may call itself, here and in another process.
use retry_runtime::function;

#[function]
fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    if n > 1000 {
        return fib.remote(n - 1).wait().unwrap_or(0);
    }
    fib(n - 1) + fib(n - 2)
}

pub(crate) fn main() {
    assert_eq!(fib(10), 55);
}
