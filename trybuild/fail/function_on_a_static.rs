#[retry_runtime::function]
static F: fn() = main;

fn main() {}
