use retry_runtime::function;

#[function]
fn check(name: &str) -> Box<dyn std::error::Error> {
    format!("no {name}").into()
}

fn main() {
    retry_runtime::init();
    check.remote("a").wait().unwrap();
}
