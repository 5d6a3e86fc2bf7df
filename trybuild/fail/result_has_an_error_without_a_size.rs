use retry_runtime::function;

#[function]
fn check(name: &str) -> Result<u64, dyn std::error::Error> {
    name.len()
}

fn main() {
    retry_runtime::init();
    check.remote("a").wait().unwrap();
}
