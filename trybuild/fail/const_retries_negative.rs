const TIMES: i32 = -1;

#[retry_runtime::function(retries = TIMES)]
fn f() {}

fn main() {}
