#[retry_runtime::function(setup = || 1, teardown = |state: String| drop(state))]
fn f(state: &u64) -> u64 {
    *state
}

fn main() {
    let _ = f.remote().wait();
}
