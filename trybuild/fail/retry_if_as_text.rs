#[retry_runtime::function(retry_if = "is_transient")]
fn f() -> Result<u64, String> {
    Ok(1)
}

fn main() {}
