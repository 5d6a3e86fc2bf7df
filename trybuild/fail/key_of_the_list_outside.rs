#[retry_runtime::function(backoff_coefficient = 2.0, retries = 3)]
fn f() {}

fn main() {}
