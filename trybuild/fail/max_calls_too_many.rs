#[retry_runtime::function(max_calls_per_worker = 100_000_000_000_000_000_000)]
fn f() {}

fn main() {}
