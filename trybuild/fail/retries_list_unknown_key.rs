#[retry_runtime::function(retries(max_retries = 3, jiter))]
fn f() {}

fn main() {}
