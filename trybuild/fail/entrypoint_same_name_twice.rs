#[retry_runtime::local_entrypoint]
fn main(size: u64, size: u64) {}
