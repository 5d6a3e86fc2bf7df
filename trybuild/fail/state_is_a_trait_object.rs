trait Store {
    fn get(&self) -> u64;
}

#[retry_runtime::function(setup = load)]
fn f(state: &mut (dyn Store + Send)) -> u64 {
    state.get()
}

fn load() -> Box<dyn Store + Send> {
    unimplemented!()
}

fn main() {
    let _ = f.remote().wait();
}
