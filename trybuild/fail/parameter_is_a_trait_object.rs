use retry_runtime::function;

#[function]
fn show(value: dyn std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn main() {
    retry_runtime::init();
    show.remote(1).wait().unwrap();
}
