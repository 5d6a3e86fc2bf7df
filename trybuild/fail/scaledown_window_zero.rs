#[retry_runtime::function(scaledown_window = "0s")]
fn f() {}

fn main() {}
