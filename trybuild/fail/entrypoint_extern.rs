#[retry_runtime::local_entrypoint]
extern "C" fn main() {}
