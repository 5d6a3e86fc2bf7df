const FLOOR: usize = 8;

#[retry_runtime::function(min_workers = FLOOR, max_workers = 4)]
fn f() {}

fn main() {}
