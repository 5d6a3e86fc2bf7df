use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[retry_runtime::function(timeout = LIMIT, deadline = "10s")]
fn f() {}

fn main() {}
