mod types {
    pub use std::vec::Vec;
}

#[retry_runtime::local_entrypoint]
fn main(sizes: types::Vec<u8>) {
    let _ = sizes;
}
