use retry_runtime::function;

#[function]
fn sum(numbers: &[u64]) -> Result<u64, !> {
    Ok(numbers.iter().sum())
}

fn main() {
    retry_runtime::init();
    sum.remote([1, 2]).wait().unwrap();
}
