#[retry_runtime::function(setup = || 1, teardown = close)]
fn f(state: &u64) -> u64 {
    *state
}

fn close() {}

fn main() {
    let _ = f.remote().wait();
}
