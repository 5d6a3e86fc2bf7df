#[retry_runtime::function]
fn area(width: u32, height: u32) -> u32 {
    width * height
}

fn main() {
    println!("{}", area.remote(3).wait().unwrap());
}
