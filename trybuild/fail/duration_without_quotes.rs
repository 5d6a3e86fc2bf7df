#[retry_runtime::function(timeout = 30s)]
fn f() {}

fn main() {}
