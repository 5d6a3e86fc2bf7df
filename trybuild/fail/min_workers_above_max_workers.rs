#[retry_runtime::function(min_workers = 8, max_workers = 4)]
fn f() {}

fn main() {}
