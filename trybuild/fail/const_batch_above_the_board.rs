const MOST: usize = 5000;

#[retry_runtime::function(batch(max_size = MOST))]
fn f(numbers: Vec<u64>) -> Vec<u64> {
    numbers
}

fn main() {}
