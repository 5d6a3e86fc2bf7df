#[retry_runtime::function]
fn f(text: impl Into<String>) -> usize {
    text.into().len()
}

fn main() {}
