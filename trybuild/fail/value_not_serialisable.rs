struct NotSerde;

#[retry_runtime::function]
fn f() -> Result<NotSerde, String> {
    Ok(NotSerde)
}

fn main() {}
