#[retry_runtime::function(retry_if = is_transient)]
fn f() -> u64 {
    1
}

fn is_transient(_: &String) -> bool {
    true
}

fn main() {}
