#[retry_runtime::function(batch(max_size = 64))]
fn f(numbers: &[u64]) -> Vec<u64> {
    numbers.to_vec()
}

fn main() {}
