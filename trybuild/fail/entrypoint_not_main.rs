#[retry_runtime::local_entrypoint]
fn start() {}

fn main() {}
