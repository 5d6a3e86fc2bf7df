#[retry_runtime::function]
fn f(text: &'static str) -> usize {
    text.len()
}

fn main() {}
