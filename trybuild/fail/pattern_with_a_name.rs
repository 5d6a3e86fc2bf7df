#[retry_runtime::function]
fn f(all @ (_, _): (u64, u64)) -> u64 {
    all.0
}

fn main() {
    let _ = f.remote((1, 2));
}
