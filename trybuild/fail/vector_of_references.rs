#[retry_runtime::function]
fn join(words: Vec<&str>) -> String {
    words.join(" ")
}

fn main() {
    let words = String::from("a b");
    let text = join.remote(words.split(' ').collect()).wait().unwrap();
    println!("{text}");
}
