#[retry_runtime::function(timeout = "-5s")]
fn f() {}

fn main() {}
