#[retry_runtime::function(retrys = 3)]
fn f() {}

fn main() {}
