#[retry_runtime::function(retries(max_retries = 3, initial_delay = "2s", max_delay = "1s"))]
fn f() {}

fn main() {}
