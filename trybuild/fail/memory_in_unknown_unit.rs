#[retry_runtime::function(memory = "512 mb")]
fn f() {}

fn main() {}
