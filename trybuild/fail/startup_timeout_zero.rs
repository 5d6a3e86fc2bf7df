#[retry_runtime::function(startup_timeout = "0ms")]
fn f() {}

fn main() {}
