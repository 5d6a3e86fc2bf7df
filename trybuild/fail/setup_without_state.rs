#[retry_runtime::function(setup = load)]
fn f() {}

fn load() -> u64 {
    1
}

fn main() {}
