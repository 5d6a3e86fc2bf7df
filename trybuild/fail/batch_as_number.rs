#[retry_runtime::function(batch = 64)]
fn f(numbers: Vec<u64>) -> Vec<u64> {
    numbers
}

fn main() {}
