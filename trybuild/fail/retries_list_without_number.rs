#[retry_runtime::function(retries(initial_delay = "1s"))]
fn f() {}

fn main() {}
