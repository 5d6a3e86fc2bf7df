#[retry_runtime::function(retries = -1)]
fn f() {}

fn main() {}
