#[retry_runtime::function]
unsafe fn f() {}

fn main() {}
