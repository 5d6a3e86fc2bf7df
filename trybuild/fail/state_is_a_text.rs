#[retry_runtime::function(setup = load)]
fn f(state: &str) -> usize {
    state.len()
}

fn load() -> String {
    String::new()
}

fn main() {
    let _ = f.remote().wait();
}
