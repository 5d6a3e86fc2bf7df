#[retry_runtime::function]
fn f(number: u64) -> u64 {
    number
}

fn main() {
    let _ = f.map(["1", "2"]);
}
