#[retry_runtime::function(retries)]
fn f() {}

fn main() {}
