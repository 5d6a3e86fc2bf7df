#[retry_runtime::function(at_most_once = true)]
fn f() {}

fn main() {}
