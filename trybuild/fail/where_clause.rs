#[retry_runtime::function]
fn f()
where
    u64: Copy,
{
}

fn main() {}
