use std::time::Duration;

const CAP: Duration = Duration::from_secs(90_000);

#[retry_runtime::function(retries(max_retries = 3, max_delay = CAP))]
fn f() {}

fn main() {}
