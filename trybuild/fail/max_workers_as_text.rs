#[retry_runtime::function(max_workers = "4")]
fn f() {}

fn main() {}
