#[retry_runtime::function(memory = 512_000_000)]
fn f() {}

fn main() {}
