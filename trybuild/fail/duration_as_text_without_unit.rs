#[retry_runtime::function(timeout = "30")]
fn f() {}

fn main() {}
