#[retry_runtime::function(single_use_workers, max_calls_per_worker = 3)]
fn f() {}

fn main() {}
