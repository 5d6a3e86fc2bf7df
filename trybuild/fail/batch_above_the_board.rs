#[retry_runtime::function(batch(max_size = 5000))]
fn f(numbers: Vec<u64>) -> Vec<u64> {
    numbers
}

fn main() {}
