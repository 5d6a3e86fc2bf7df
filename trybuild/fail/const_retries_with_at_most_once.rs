const TIMES: u32 = 3;

#[retry_runtime::function(retries = TIMES, at_most_once)]
fn f() {}

fn main() {}
