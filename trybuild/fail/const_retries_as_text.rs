const TIMES: &str = "3";

#[retry_runtime::function(retries = TIMES)]
fn f() {}

fn main() {}
