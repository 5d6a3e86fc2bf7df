#[retry_runtime::function(setup = || 1, teardown = close)]
fn f(state: &u64) -> u64 {
    *state
}

async fn close(_: u64) -> std::io::Result<()> {
    Ok(())
}

fn main() {
    let _ = f.remote().wait();
}
