#[retry_runtime::function(setup = load, teardown = close)]
fn f(state: &u64) -> u64 {
    *state
}

fn load() -> u64 {
    1
}

fn close(_: &u64) {}

fn main() {
    let _ = f.remote().wait();
}
