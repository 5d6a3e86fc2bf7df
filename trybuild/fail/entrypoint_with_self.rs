#[retry_runtime::local_entrypoint]
fn main(&self) {}
