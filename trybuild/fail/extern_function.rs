#[retry_runtime::function]
extern "C" fn f() {}

fn main() {}
