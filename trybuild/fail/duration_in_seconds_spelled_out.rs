#[retry_runtime::function(timeout = "30 seconds")]
fn f() {}

fn main() {}
