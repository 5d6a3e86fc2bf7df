#[retry_runtime::function(retries(max_retries = 3, max_delay = "500ms"))]
fn f() {}

fn main() {}
