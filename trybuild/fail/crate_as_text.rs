#[retry_runtime::function(crate = "retry_runtime")]
fn f() {}

fn main() {}
