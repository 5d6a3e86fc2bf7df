#[retry_runtime::local_entrypoint]
fn main((a, b): (u64, u64)) {
    println!("{a} {b}");
}
