#[retry_runtime::function]
fn area(width: u32, name: &str) -> u32 {
    width + name.len() as u32
}

fn main() {
    println!("{}", area.remote("3", "a").wait().unwrap());
}
