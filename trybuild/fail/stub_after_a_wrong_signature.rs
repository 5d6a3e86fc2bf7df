#[retry_runtime::function]
fn f((a, b): (u64, u64), text: &mut str) -> u64 {
    a + b + text.len() as u64
}

fn main() {
    // The stub is still there: nothing is said about these lines.
    let _ = f.remote((1, 2), "text");
    let _ = f.map([((1, 2), "text")]);
}
