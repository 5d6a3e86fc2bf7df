#[retry_runtime::function(retries = 3)]
#[retry_runtime::function(timeout = "3s")]
fn f() {}

fn main() {}
