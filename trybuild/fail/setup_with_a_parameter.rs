#[retry_runtime::function(setup = load)]
fn f(state: &String) -> usize {
    state.len()
}

fn load(path: &str) -> String {
    path.to_owned()
}

fn main() {
    let _ = f.remote().wait();
}
