#[retry_runtime::function(memory = true)]
fn f() {}

fn main() {}
