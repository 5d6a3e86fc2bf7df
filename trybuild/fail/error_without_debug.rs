use retry_runtime::function;

#[derive(thiserror::Error)]
#[error("too large")]
struct TooLarge;

#[function]
fn double(number: u8) -> Result<u8, TooLarge> {
    number.checked_mul(2).ok_or(TooLarge)
}

fn main() {
    retry_runtime::init();
    let _ = double.remote(1).wait();
    let _ = double.map([1, 2]).into_iter().count();
}
