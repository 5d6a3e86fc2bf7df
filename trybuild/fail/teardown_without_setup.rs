#[retry_runtime::function(teardown = close)]
fn f() {}

fn close(_: u64) {}

fn main() {}
