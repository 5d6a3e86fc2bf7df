#[retry_runtime::function(concurrency = 8)]
fn f() {}

fn main() {}
