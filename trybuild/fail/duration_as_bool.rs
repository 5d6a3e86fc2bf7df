#[retry_runtime::function(timeout = true)]
fn f() {}

fn main() {}
