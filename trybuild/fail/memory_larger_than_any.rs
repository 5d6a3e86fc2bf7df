#[retry_runtime::function(memory = "99999999TiB")]
fn f() {}

fn main() {}
