const MANY: usize = 8;

#[retry_runtime::function(setup = load, concurrency = MANY)]
async fn f(state: &mut u64, number: u64) -> u64 {
    *state += number;
    *state
}

fn load() -> u64 {
    1
}

fn main() {}
