#[retry_runtime::function(batch(max_size = 64))]
fn f(number: u64) -> Vec<u64> {
    vec![number]
}

fn main() {}
