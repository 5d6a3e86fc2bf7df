#[retry_runtime::function(name = ;)]
fn f() {}

fn main() {}
