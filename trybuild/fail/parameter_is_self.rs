use retry_runtime::function;

#[function]
fn double(number: Self) -> u64 {
    2 * number
}

fn main() {
    retry_runtime::init();
    double.remote(1).wait().unwrap();
}
