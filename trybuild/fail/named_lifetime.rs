#[retry_runtime::function]
fn f<'a>(text: &'a str) -> usize {
    text.len()
}

fn main() {}
