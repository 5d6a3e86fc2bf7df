use retry_runtime::function;

#[function]
fn length(text: str) -> usize {
    text.len()
}

fn main() {
    retry_runtime::init();
    length.remote("a").wait().unwrap();
}
