#[retry_runtime::function(retries(max_retries = 3, backoff_coefficient = "2"))]
fn f() {}

fn main() {}
