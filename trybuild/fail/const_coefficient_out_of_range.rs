const STEEP: f64 = 10.5;

#[retry_runtime::function(retries(max_retries = 3, backoff_coefficient = STEEP))]
fn f() {}

fn main() {}
