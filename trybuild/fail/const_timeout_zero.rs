use std::time::Duration;

const LIMIT: Duration = Duration::ZERO;

#[retry_runtime::function(timeout = LIMIT)]
fn f() {}

fn main() {}
