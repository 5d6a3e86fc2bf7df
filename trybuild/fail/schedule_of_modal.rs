#[retry_runtime::function(schedule = "daily")]
fn f() {}

fn main() {}
