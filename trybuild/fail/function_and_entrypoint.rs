#[retry_runtime::local_entrypoint]
#[retry_runtime::function]
fn main() {}
