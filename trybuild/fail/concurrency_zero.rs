#[retry_runtime::function(concurrency = 0)]
async fn f() {}

fn main() {}
