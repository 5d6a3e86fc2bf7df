#[retry_runtime::on_start]
fn logging() -> u64 {
    1
}

fn main() {}
