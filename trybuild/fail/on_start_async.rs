#[retry_runtime::on_start]
async fn logging() {}

fn main() {}
