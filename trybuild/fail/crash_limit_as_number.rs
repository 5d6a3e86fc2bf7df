#[retry_runtime::function(crash_limit = 3)]
fn f() {}

fn main() {}
