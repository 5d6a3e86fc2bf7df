#[retry_runtime::function(batch(max_size = 64))]
fn f(numbers: Vec<u64>, factor: u64) -> Vec<u64> {
    numbers.into_iter().map(|number| number * factor).collect()
}

fn main() {}
