#[retry_runtime::function(retries(max_retries = 3, max_retries = 4))]
fn f() {}

fn main() {}
