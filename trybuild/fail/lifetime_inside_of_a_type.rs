use std::borrow::Cow;

#[retry_runtime::function]
fn f(text: Cow<'_, str>) -> usize {
    text.len()
}

fn main() {}
