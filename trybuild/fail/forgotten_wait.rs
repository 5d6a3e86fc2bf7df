#![deny(unused_must_use)]

#[retry_runtime::function]
fn f(number: u64) -> u64 {
    number
}

fn main() {
    f.remote(1);
}
