#[retry_runtime::local_entrypoint]
fn main(path: &str) {
    let _ = path;
}
