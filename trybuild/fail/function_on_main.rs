#[retry_runtime::function]
fn main() {}
