#[retry_runtime::function]
const fn f() {}

fn main() {}
