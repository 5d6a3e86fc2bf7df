use retry_runtime::function;

#[function]
fn double(&mut self) -> u64 {
    2
}

fn main() {
    retry_runtime::init();
    double.remote().wait().unwrap();
}
