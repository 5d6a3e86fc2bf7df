#[retry_runtime::on_start(first)]
fn logging() {}

fn main() {}
