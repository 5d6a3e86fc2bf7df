#[retry_runtime::function]
async fn area(width: u32, name: &str) -> u32 {
    width + name.len() as u32
}

fn main() {
    println!("{}", area.spawn(3, String::from("a")).wait().unwrap());
}
