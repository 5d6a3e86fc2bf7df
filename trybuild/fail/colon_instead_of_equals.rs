#[retry_runtime::function(retries: 3)]
fn f() {}

fn main() {}
