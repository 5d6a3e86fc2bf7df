#[retry_runtime::function(timeout = "9999999h")]
fn f() {}

fn main() {}
