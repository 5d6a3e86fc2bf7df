#[retry_runtime::function]
fn greet(name: Option<&str>) -> String {
    name.unwrap_or("you").to_owned()
}

fn main() {
    let greeting = greet.remote(Some("me")).wait().unwrap();
    println!("{greeting}");
    for greeting in greet.map([None, Some("me")]) {
        println!("{}", greeting.unwrap());
    }
}
