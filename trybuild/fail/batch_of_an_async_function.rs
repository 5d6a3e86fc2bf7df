use retry_runtime::function;

#[function(batch(max_size = 8))]
async fn squares(numbers: Vec<u64>) -> Vec<u64> {
    numbers.iter().map(|number| number * number).collect()
}

fn main() {
    let _ = squares.remote(3).wait();
}
