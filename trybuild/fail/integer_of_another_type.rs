#[retry_runtime::function(max_workers = 4u8)]
fn f() {}

fn main() {}
