#[retry_runtime::function]
#[retry_runtime::local_entrypoint]
fn f() {}

fn main() {
    f();
}
