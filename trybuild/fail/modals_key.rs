#[retry_runtime::function(max_containers = 3, gpu = "any")]
fn f() {}

fn main() {}
