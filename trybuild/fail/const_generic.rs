#[retry_runtime::function]
fn f<const N: usize>() -> usize {
    N
}

fn main() {}
