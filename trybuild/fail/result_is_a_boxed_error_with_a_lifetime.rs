use retry_runtime::function;
use std::error::Error;

#[function]
fn double(number: u64) -> Result<u64, Box<dyn Error + '_>> {
    Ok(2 * number)
}

fn main() {
    retry_runtime::init();
    double.remote(1).wait().unwrap();
}
