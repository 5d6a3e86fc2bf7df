#[retry_runtime::function]
fn first(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

fn main() {
    let word: String = first.remote("a b").wait().unwrap();
    println!("{word}");
    let _ = first.map(["a b"]).into_iter().map(Result::unwrap).count();
}
