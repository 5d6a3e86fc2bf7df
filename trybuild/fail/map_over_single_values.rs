#[retry_runtime::function]
fn area(width: u32, height: u32) -> u32 {
    width * height
}

fn main() {
    for result in area.map([1, 2, 3]) {
        println!("{}", result.unwrap());
    }
}
