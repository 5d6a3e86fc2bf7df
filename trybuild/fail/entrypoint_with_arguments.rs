#[retry_runtime::local_entrypoint(threads = 2)]
fn main() {}
