#[retry_runtime::function]
fn f(text: &str) -> &str {
    text
}

fn main() {}
