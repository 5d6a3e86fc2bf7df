#[retry_runtime::function]
fn f(ref number: u64) -> u64 {
    *number
}

fn main() {
    let _ = f.remote(1);
}
