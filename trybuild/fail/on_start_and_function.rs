#[retry_runtime::on_start]
#[retry_runtime::function]
fn logging() {}

fn main() {}
