#[retry_runtime::function(memory = 512)]
fn f() {}

fn main() {}
