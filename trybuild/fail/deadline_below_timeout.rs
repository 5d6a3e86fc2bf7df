#[retry_runtime::function(timeout = "30s", deadline = "10s")]
fn f() {}

fn main() {}
