#[retry_runtime::function(timeout = "0s")]
fn f() {}

fn main() {}
