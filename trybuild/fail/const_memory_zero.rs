const LIMIT: u64 = 0;

#[retry_runtime::function(memory = LIMIT)]
fn f() {}

fn main() {}
