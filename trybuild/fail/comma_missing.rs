#[retry_runtime::function(retries = 3 timeout = "3s")]
fn f() {}

fn main() {}
