#[retry_runtime::function]
fn half(number: u32) -> Result<u32> {
    Ok(number / 2)
}

fn main() {
    let value: u32 = half.remote(4).wait().unwrap();
    println!("{value}");
}
