#[retry_runtime::local_entrypoint]
#[retry_runtime::local_entrypoint]
fn main() {}
