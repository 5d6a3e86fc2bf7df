#[retry_runtime::function(concurrency = 8, setup = load)]
async fn f(state: &mut u64) -> u64 {
    *state += 1;
    *state
}

fn load() -> u64 {
    1
}

fn main() {}
