use std::time::Duration;

const FIRST: Duration = Duration::from_secs(61);

#[retry_runtime::function(retries(max_retries = 3, initial_delay = FIRST))]
fn f() {}

fn main() {}
