struct NotSerde;

#[retry_runtime::function]
fn f() -> Result<u64, NotSerde> {
    Err(NotSerde)
}

fn main() {}
