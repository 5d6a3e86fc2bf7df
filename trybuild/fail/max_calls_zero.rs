#[retry_runtime::function(max_calls_per_worker = 0)]
fn f() {}

fn main() {}
