use retry_runtime::Retries;
use std::time::Duration;

const POLICY: Retries = Retries::exponential(3).initial_delay(Duration::from_secs(61));

#[retry_runtime::function(retries = POLICY)]
fn f() {}

fn main() {}
