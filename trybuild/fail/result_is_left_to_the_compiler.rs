use retry_runtime::function;

#[function]
fn double(numbers: &[u64]) -> Vec<_> {
    numbers.iter().map(|number| 2 * number).collect()
}

fn main() {
    retry_runtime::init();
    double.remote([1, 2]).wait().unwrap();
}
