#[retry_runtime::function(max_workers = 0)]
fn f() {}

fn main() {}
