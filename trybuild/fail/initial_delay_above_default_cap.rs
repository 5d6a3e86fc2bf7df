#[retry_runtime::function(retries(max_retries = 3, initial_delay = "61s"))]
fn f() {}

fn main() {}
