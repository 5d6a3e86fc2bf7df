#[retry_runtime::function]
fn f();

fn main() {}
