#[retry_runtime::function]
fn size(number: u64) -> u64 {
    number
}

#[retry_runtime::local_entrypoint]
fn main(size: u64) {}
