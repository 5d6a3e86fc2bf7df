#[retry_runtime::function(setup = load)]
fn f(state: u64) -> u64 {
    state
}

fn load() -> u64 {
    1
}

fn main() {}
