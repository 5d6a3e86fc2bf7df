#[retry_runtime::local_entrypoint]
#[command(version = "2")]
fn main() {}
