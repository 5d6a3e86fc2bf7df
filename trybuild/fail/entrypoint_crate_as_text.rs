#[retry_runtime::local_entrypoint(crate = "retry_runtime")]
fn main() {}
