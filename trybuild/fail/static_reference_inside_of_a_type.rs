#[retry_runtime::function]
fn f(texts: Vec<&'static str>) -> usize {
    texts.len()
}

fn main() {}
