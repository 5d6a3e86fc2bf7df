#[retry_runtime::function(batch(max_size = 64))]
fn f(numbers: Vec<u64>) {
    drop(numbers);
}

fn main() {}
