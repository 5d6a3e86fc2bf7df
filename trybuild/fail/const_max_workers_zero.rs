const MOST: usize = 0;

#[retry_runtime::function(max_workers = MOST)]
fn f() {}

fn main() {}
