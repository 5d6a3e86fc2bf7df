#[retry_runtime::function]
fn f<T>(value: T) -> u32 {
    let _ = value;
    0
}

fn main() {}
