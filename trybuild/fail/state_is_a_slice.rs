#[retry_runtime::function(setup = load)]
fn f(state: &[u8], text: &str) -> usize {
    state.len() + text.len()
}

fn load() -> Vec<u8> {
    Vec::new()
}

fn main() {
    let _ = f.remote("a").wait();
}
