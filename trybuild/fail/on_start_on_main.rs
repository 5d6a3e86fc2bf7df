#[retry_runtime::on_start]
fn main() {}
