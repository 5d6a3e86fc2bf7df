#[retry_runtime::test]
fn works(number: u64) {
    let _ = number;
}

fn main() {}
