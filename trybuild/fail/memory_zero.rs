#[retry_runtime::function(memory = "0MiB")]
fn f() {}

fn main() {}
