const LIMIT: u64 = 30;

#[retry_runtime::function(timeout = LIMIT)]
fn f() {}

fn main() {}
