#[retry_runtime::function(timeout = "2 weeks")]
fn f() {}

fn main() {}
