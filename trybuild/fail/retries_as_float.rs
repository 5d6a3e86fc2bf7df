#[retry_runtime::function(retries = 2.5)]
fn f() {}

fn main() {}
