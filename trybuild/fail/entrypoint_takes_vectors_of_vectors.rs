#[retry_runtime::local_entrypoint]
fn main(sizes: Vec<Vec<u8>>) {
    let _ = sizes;
}
