#[retry_runtime::function("3")]
fn f() {}

fn main() {}
