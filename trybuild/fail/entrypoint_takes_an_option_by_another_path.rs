mod types {
    pub use std::option::Option;
}

#[retry_runtime::local_entrypoint]
fn main(size: types::Option<u64>) {
    let _ = size;
}
