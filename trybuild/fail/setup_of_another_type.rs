#[retry_runtime::function(setup = load)]
fn f(state: &String) -> usize {
    state.len()
}

fn load() -> u64 {
    1
}

fn main() {}
