#[retry_runtime::function(at_most_once, retries = 2)]
fn f() {}

fn main() {}
