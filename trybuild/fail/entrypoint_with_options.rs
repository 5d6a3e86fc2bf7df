#[retry_runtime::local_entrypoint(threads = 3)]
fn main() {}
