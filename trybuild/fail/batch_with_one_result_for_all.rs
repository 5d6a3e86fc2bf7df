use retry_runtime::function;

#[function(batch(max_size = 8))]
fn double(numbers: Vec<u64>) -> Result<Vec<u64>, String> {
    Ok(numbers.iter().map(|number| 2 * number).collect())
}

fn main() {
    retry_runtime::init();
    double.remote(1).wait().unwrap();
}
