#[retry_runtime::function(retries = 5_000_000_000)]
fn f() {}

fn main() {}
