#[retry_runtime::function]
fn total(total: u64) -> u64 {
    total
}

fn main() {}
