#[retry_runtime::on_start]
unsafe fn logging() {}

fn main() {}
