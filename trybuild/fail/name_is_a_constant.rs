const NAME: &str = "resize";

#[retry_runtime::function(name = NAME)]
fn f() {}

fn main() {}
