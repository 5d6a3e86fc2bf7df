#[retry_runtime::function(setup = load)]
fn f(state: &String) -> usize {
    state.len()
}

fn load() -> Result<u64, std::io::Error> {
    Ok(1)
}

fn main() {
    let _ = f.remote().wait();
}
