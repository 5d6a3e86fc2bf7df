use std::borrow::Cow;

#[retry_runtime::function]
fn f<'a>(text: Cow<'a, str>) -> usize {
    text.len()
}

fn main() {}
