#[retry_runtime::on_start]
fn logging();

fn main() {}
