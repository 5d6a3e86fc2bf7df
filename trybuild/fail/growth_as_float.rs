#[retry_runtime::function(max_rss_growth = 1.5)]
fn f() {}

fn main() {}
