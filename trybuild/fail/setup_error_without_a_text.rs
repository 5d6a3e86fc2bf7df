struct Refused;

#[retry_runtime::function(setup = load)]
fn f(state: &String) -> usize {
    state.len()
}

fn load() -> Result<String, Refused> {
    Err(Refused)
}

fn main() {
    let _ = f.remote().wait();
}
