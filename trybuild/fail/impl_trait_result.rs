#[retry_runtime::function]
fn f() -> impl Iterator<Item = u64> {
    [1].into_iter()
}

fn main() {}
