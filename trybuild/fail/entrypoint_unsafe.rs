#[retry_runtime::local_entrypoint]
unsafe fn main() {}
