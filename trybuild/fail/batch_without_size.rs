#[retry_runtime::function(batch(max_wait = "5ms"))]
fn f(numbers: Vec<u64>) -> Vec<u64> {
    numbers
}

fn main() {}
