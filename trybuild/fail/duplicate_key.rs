#[retry_runtime::function(timeout = "3s", timeout = "4s")]
fn f() {}

fn main() {}
