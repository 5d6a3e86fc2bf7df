#[retry_runtime::function(version = 3)]
fn f() {}

fn main() {}
