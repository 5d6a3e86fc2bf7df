#[retry_runtime::function]
fn f(texts: Vec<&str>) -> usize {
    texts.len()
}

fn main() {}
