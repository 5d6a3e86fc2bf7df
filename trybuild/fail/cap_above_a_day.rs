#[retry_runtime::function(retries(max_retries = 3, max_delay = "25h"))]
fn f() {}

fn main() {}
