#[retry_runtime::function(setup = load)]
async fn f(state: &String) -> usize {
    state.len()
}

async fn load() -> u64 {
    1
}

fn main() {
    let _ = f.remote().wait();
}
