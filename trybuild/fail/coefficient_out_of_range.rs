#[retry_runtime::function(retries(max_retries = 3, backoff_coefficient = 10.5))]
fn f() {}

fn main() {}
