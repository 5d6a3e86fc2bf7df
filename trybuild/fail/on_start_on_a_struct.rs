#[retry_runtime::on_start]
struct Logging;

fn main() {}
